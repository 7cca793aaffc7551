"""The same jobs as others do them: plain eager torch, grad-cam, torch-cam, GrabCut on top.

Nothing here is tuned and nothing of the product's arithmetic is used: float32, NCHW, the
parameters as they were loaded. Every function loads the network once a process.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import cv2
import httpx
import numpy as np
import torch
from torch import Tensor, nn

from backend.domain import FloatArray, Picture
from backend.evaluation.subject import Subject, Taken, batches, decoded, squares_of, timed
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import find_device
from backend.vision.torchvision_door import load_torchvision
from backend.vision.weight_files import load_weights

GRAD_CAM, TORCH_CAM = "pytorch_grad_cam", "torchcam.methods"
"""The modules of the two libraries."""

_SHARE = 0.3
"""Of a map's maximum: what is at least as high is object."""

_GRADIENT_PX = 224
_FOREGROUND, _BACKGROUND, _ROUNDS = 0.95, 0.30, 3
"""Simonyan et al. 2013, section 3.2: quantiles of the seeds; rounds of GrabCut."""

Maps = Callable[[Tensor], FloatArray]
"""(B, 3, S, S) normalised pixels -> (B, h, w) maps of the likeliest class."""


@dataclass(frozen=True, slots=True)
class _Plain:
    """A classifier as a model zoo gives it, cut once so that maps can be taken between."""

    trunk: nn.Module
    model: nn.Module
    mean: Tensor
    std: Tensor
    side_px: int
    device: torch.device

    def normalised(self, images_u8: Tensor) -> Tensor:
        values = images_u8.to(self.device).float() / 255
        return ((values - self.mean) / self.std).contiguous()


def eager(subject: Subject, files: Sequence[bytes], batch: int) -> Taken:
    """The bare forward pass of the trunk over decoded, resized pictures, so many at a time."""
    plain = _plain(subject)
    images_u8 = squares_of(decoded(files), plain.side_px)

    def work() -> Tensor:
        with torch.inference_mode():
            cells = [plain.trunk(plain.normalised(part)) for part in batches(images_u8, batch)]
        return cast(Tensor, cells[0])

    seconds, cells = timed(plain.device, work)
    return Taken(seconds, cells_chw=cells[0].cpu().numpy())


def library_boxes(subject: Subject, files: Sequence[bytes], batch: int, library: str) -> Taken:
    """Boxes of decoded pictures by a library's Grad-CAM, so many at a time."""
    plain, pictures = _plain(subject), decoded(files)

    def work() -> list[FloatArray]:
        found = []
        for at in range(0, len(pictures), batch):
            found += _library_boxes(plain, maps, pictures[at : at + batch])
        return found

    with _library_maps(plain, library) as maps:
        seconds, boxes = timed(plain.device, work)
    return Taken(seconds, tuple(boxes))


def naive(subject: Subject, addresses: Sequence[str]) -> Taken:
    """What a backend does that works in its request: fetch, decode, grad-cam, boxes, one by one."""
    plain = _plain(subject)

    def work() -> list[FloatArray]:
        return [
            box
            for address in addresses
            for box in _library_boxes(plain, maps, decoded([client.get(address).content]))
        ]

    with httpx.Client(trust_env=False) as client, _library_maps(plain, GRAD_CAM) as maps:
        seconds, boxes = timed(plain.device, work)
    return Taken(seconds, tuple(boxes))


def gradient_boxes(subject: Subject, files: Sequence[bytes], side_px: int | None) -> Taken:
    """Boxes by Simonyan's gradient and GrabCut, a picture at a time.

    side_px: longest side at which GrabCut works, None for the picture's own.
    """
    plain, pictures = _plain(subject), decoded(files)

    def work() -> list[FloatArray]:
        return [_gradient_box(plain, picture, side_px) for picture in pictures]

    seconds, boxes = timed(plain.device, work)
    return Taken(seconds, tuple(boxes))


def installed(library: str) -> bool:
    """Whether a library can be imported."""
    try:
        _imported(library)
    except ImportError:
        return False
    return True


def _imported(library: str) -> Any:
    load_torchvision()  # both import it, which beside some torches takes our door
    return importlib.import_module(library)


@functools.lru_cache(maxsize=1)
def _plain(subject: Subject) -> _Plain:
    subject.settle()
    architecture = ARCHITECTURES.get(subject.backbone)
    model = architecture.build()
    model.load_state_dict(dict(load_weights(architecture, subject.weights).tensors), assign=True)
    trunk, head = architecture.cut(model)
    device = find_device(subject.device)
    whole = nn.Sequential(trunk, head).eval().to(device)
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (architecture.mean_rgb, architecture.std_rgb)
    )
    return _Plain(trunk, whole, mean, std, architecture.size_px, device)


@contextmanager
def _library_maps(plain: _Plain, library: str) -> Iterator[Maps]:
    methods = _imported(library)
    if library == GRAD_CAM:
        with methods.GradCAM(model=plain.model, target_layers=[plain.trunk]) as cam:
            yield lambda pixels: np.asarray(cam(input_tensor=pixels, targets=None), np.float32)
        return
    with methods.GradCAM(plain.model, target_layer=plain.trunk) as cam:

        def maps(pixels: Tensor) -> FloatArray:
            scores = plain.model(pixels)
            found: Tensor = cam(scores.argmax(1).tolist(), scores)[0]
            return found.detach().float().cpu().numpy()

        yield maps


def _library_boxes(plain: _Plain, maps: Maps, pictures: Sequence[Picture]) -> list[FloatArray]:
    pixels = plain.normalised(squares_of(pictures, plain.side_px))
    return [
        _largest_box(_above(values, picture.size_hw))
        for values, picture in zip(maps(pixels), pictures, strict=True)
    ]


def _above(values_hw: FloatArray, size_hw: tuple[int, int]) -> Any:
    """(H, W) uint8 at the picture's size: where the map is high."""
    fine = cv2.resize(values_hw, (size_hw[1], size_hw[0]))
    return (fine >= _SHARE * fine.max()).astype(np.uint8)


def _largest_box(mask_hw: Any) -> FloatArray:
    """(1, 4) x0 y0 x1 y1, half-open, round the largest part; (0, 4) of an empty mask."""
    contours, _ = cv2.findContours(mask_hw, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((0, 4), np.float32)
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return np.array([[x, y, x + width, y + height]], np.float32)


def _gradient_box(plain: _Plain, picture: Picture, side_px: int | None) -> FloatArray:
    side = min(plain.side_px, _GRADIENT_PX)
    pixels = plain.normalised(squares_of([picture], side)).requires_grad_()
    plain.model(pixels)[0].max().backward()
    gradient = pixels.grad
    assert gradient is not None  # noqa: S101 - backward has just made it
    plain.model.zero_grad()
    values = gradient.abs().amax(1)[0].cpu().numpy()
    height, width = picture.size_hw
    scale = 1.0 if side_px is None else min(1.0, side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rgb = cv2.resize(picture.rgb_u8, size) if scale < 1.0 else picture.rgb_u8
    fine = cv2.resize(values, size)
    trimap = np.full(fine.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[fine > np.quantile(fine, _FOREGROUND)] = cv2.GC_FGD
    trimap[fine < np.quantile(fine, _BACKGROUND)] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(rgb, trimap, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return _largest_box(found.astype(np.uint8)) / np.float32(scale)

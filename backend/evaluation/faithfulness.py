"""Whether a map shows what a network went by: pointing game, deletion and insertion."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.domain import Boxes, FloatArray
from backend.vision.architectures import ARCHITECTURES
from backend.vision.boxes.components import resize_map
from backend.vision.look import Looked

_BATCH = 16
"""Changed pictures in memory at a time."""

_BLUR_PX, _BLUR_AT_PX = 5.0, 224
"""Standard deviation of the blur, and the side of picture that it is for (RISE's code)."""


def points_at(values_hw: FloatArray, truth: Boxes) -> bool:
    """Whether a map's largest value lies in one of the true boxes.

    The middle of the first such cell in reading order counts. Source: Zhang et al. 2016,
    "Top-down Neural Attention by Excitation Backprop", section 4.1. Differs: no tolerance
    of 15 pixels round the box.
    """
    row, column = np.unravel_index(int(values_hw.argmax()), values_hw.shape)
    height, width = values_hw.shape
    return _inside((int(column) + 0.5) / width, (int(row) + 0.5) / height, truth)


def centre_is_in(truth: Boxes) -> bool:
    """The same of the picture's centre, the guess that every method has to beat."""
    return _inside(0.5, 0.5, truth)


def deletion_and_insertion(
    looked: Looked, row: int, classes: Sequence[int], values_hw: FloatArray, steps: int
) -> tuple[FloatArray, FloatArray]:
    """(steps + 1,) each: the probability of the classes while pixels go, and while they come.

    Pixels go and come in the order of the map, the largest first, as many in each step.
    Deleted ones get the mean colour of the training pictures; insertion begins with the
    picture blurred. The probability is the sum of the classes' softmax. ``area`` of the
    first is low and of the second high for a map that shows what the network goes by.
    Source: Petsiuk et al. 2018, "RISE", section 4.2 with their code's blur. Differs: the
    step is 1 / steps of the pixels, theirs is 224 pixels; colours are rounded to 8 bits.
    Cost: 2 steps + 2 forward passes.
    """
    picture = looked.images_u8[row]
    side = int(picture.shape[-1])
    order = torch.from_numpy(
        np.argsort(-resize_map(values_hw, (side, side)).ravel(), kind="stable")
    )
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    rank = rank.view(1, side, side).to(picture.device)
    counts = [round(step / steps * side * side) for step in range(steps + 1)]
    mean_rgb = ARCHITECTURES.get(looked.backbone.identity.name).mean_rgb
    grey = torch.tensor([round(255 * value) for value in mean_rgb], dtype=torch.uint8)
    gone = grey.to(picture.device).view(3, 1, 1).expand_as(picture)
    deleted = [torch.where(rank < count, gone, picture) for count in counts]
    begun = _blurred(picture)
    inserted = [torch.where(rank < count, picture, begun) for count in counts]
    found = _probability(looked, [*deleted, *inserted], classes)
    return found[: steps + 1], found[steps + 1 :]


def area(curve: FloatArray) -> float:
    """Area under a curve over 0..1, by trapezoids of one width."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


def _inside(x_unit: float, y_unit: float, truth: Boxes) -> bool:
    height, width = truth.size_hw
    x0, y0, x1, y1 = truth.xyxy_px.T
    x, y = x_unit * width, y_unit * height
    return bool(((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any())


def _blurred(picture: Tensor) -> Tensor:
    sigma = _BLUR_PX * picture.shape[-1] / _BLUR_AT_PX
    rgb = np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())
    # Beyond a standard deviation RISE's kernel of 11 pixels is cut off.
    kernel = 2 * max(1, round(sigma)) + 1
    blurred = np.asarray(cv2.GaussianBlur(rgb, (kernel, kernel), sigma), np.uint8)
    return torch.from_numpy(blurred).permute(2, 0, 1).to(picture.device)


def _probability(looked: Looked, pictures: Sequence[Tensor], classes: Sequence[int]) -> FloatArray:
    backbone = looked.backbone
    parts = []
    for at in range(0, len(pictures), _BATCH):
        images_u8 = torch.stack(list(pictures[at : at + _BATCH]))
        logits = backbone.logits(backbone.features(images_u8))
        parts.append(torch.softmax(logits, 1)[:, list(classes)].sum(1).cpu().numpy())
    return np.concatenate(parts).astype(np.float32)

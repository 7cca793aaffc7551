"""The network whose speed is measured, named so that every process can load it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.domain import FloatArray, Picture
from backend.evaluation.children import free_port
from backend.media.decode import decode_picture
from backend.settings import Settings, load_settings
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import find_device
from backend.vision.look import prepare

_MOST_PIXELS = 100_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subject:
    """backbone: by name. weights: a file, or None for its own. device: cpu or cuda:N.

    threads: of its arithmetic.
    """

    backbone: str
    weights: Path | None
    device: str
    threads: int = 1

    @classmethod
    def of(cls, backbone: str, weights: Path | None, device: str, threads: int) -> Subject:
        """The same with auto for a device. Raises: UnknownName, ConfigError, before any work."""
        found = find_device(device)
        where = f"cuda:{found.index or 0}" if found.type == "cuda" else found.type
        return cls(ARCHITECTURES.get(backbone).name, weights, where, threads)

    def settle(self) -> None:
        """Hold torch and OpenCV of this process to the threads."""
        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)


def measured_settings(subject: Subject, folder: Path) -> Settings:
    """Settings of a backend that is started for a measurement: a free port, its own folder."""
    return load_settings(
        host="127.0.0.1",
        port=free_port(),
        data_dir=folder,
        redis_url="",
        label_studio_api_key="",
        basic_auth_user="",
        basic_auth_pass="",
        log_level="warning",
        backbone=subject.backbone,
        backbone_weights=subject.weights,
        device=subject.device,
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What pictures took. seconds: all of them together.

    boxes_xyxy_px: (N, 4) of each, where they were looked for. cells_chw: of the first
    picture, where cells were asked for.
    """

    seconds: float
    boxes_xyxy_px: tuple[FloatArray, ...] = ()
    cells_chw: FloatArray | None = None


def timed(device: torch.device, work: Callable[[], T]) -> tuple[float, T]:
    """Seconds until the device is done, and the result."""
    begun_s = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun_s, result


def decoded(files: Sequence[bytes]) -> list[Picture]:
    """The pictures in these files."""
    return [decode_picture(one, max_pixels=_MOST_PIXELS) for one in files]


def squares_of(pictures: Sequence[Picture], side_px: int) -> Tensor:
    """(N, 3, S, S) uint8 on the host: the pictures as the network is shown them."""
    squares = np.stack([prepare(picture, side_px) for picture in pictures])
    return torch.from_numpy(squares).permute(0, 3, 1, 2)


def batches(images_u8: Tensor, batch: int) -> list[Tensor]:
    """The pictures, so many at a time, the rest at the end."""
    return [images_u8[at : at + batch] for at in range(0, len(images_u8), batch)]

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
from backend.media.decode import decode_picture
from backend.vision.look import prepare

_MOST_PIXELS = 100_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subject:
    """backbone: by name. weights: a file, or None for its own. threads: of its arithmetic."""

    backbone: str
    weights: Path | None
    device: str
    threads: int = 1

    def settle(self) -> None:
        """Hold torch and OpenCV of this process to the threads."""
        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)


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

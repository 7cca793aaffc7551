"""Drawn films: textured things on a textured ground, with their true boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from backend.domain import FloatArray, U8Array
from backend.video.frames import Clip, Frame

HW = (180, 240)
FPS = 25.0


def texture(seed: int, size_hw: tuple[int, int]) -> U8Array:
    """(H, W, 3) blobs of some pixels, the same for a seed."""
    small = np.random.default_rng(seed).integers(
        0, 256, (size_hw[0] // 4 + 1, size_hw[1] // 4 + 1, 3)
    )
    drawn = cv2.resize(small.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(drawn, np.uint8)


def path_of(frame: int) -> FloatArray:
    """The box of a thing that goes right and down, and grows."""
    side = 40 + 0.3 * frame
    x, y = 20 + 2.0 * frame, 30 + 0.8 * frame
    return np.array([x, y, x + side, y + side], np.float32)


def picture(xyxy_px: FloatArray | None, seed: int = 1) -> U8Array:
    """(H, W, 3) the ground, with the thing in its box where there is one."""
    drawn = texture(0, HW).copy() // 3
    if xyxy_px is not None:
        x0, y0, x1, y1 = (round(float(edge)) for edge in xyxy_px)
        thing = cv2.resize(texture(seed, (64, 64)), (x1 - x0, y1 - y0))
        low_x, low_y, high_x, high_y = max(x0, 0), max(y0, 0), min(x1, HW[1]), min(y1, HW[0])
        drawn[low_y:high_y, low_x:high_x] = thing[
            low_y - y0 : high_y - y0, low_x - x0 : high_x - x0
        ]
    return drawn


def grey(xyxy_px: FloatArray | None, seed: int = 1) -> U8Array:
    return np.asarray(cv2.cvtColor(picture(xyxy_px, seed), cv2.COLOR_RGB2GRAY), np.uint8)


def frames(boxes: Sequence[FloatArray | None]) -> Iterator[Frame]:
    for number, xyxy_px in enumerate(boxes):
        yield Frame(number, number / FPS, grey(xyxy_px), None)


def clip(count: int) -> Clip:
    return Clip(HW, FPS, count)


def write_film(path: Path, boxes: Sequence[FloatArray | None], fps: float = FPS) -> Path:
    """A file that OpenCV itself can write everywhere."""
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, fps, HW[::-1])
    assert writer.isOpened()
    for xyxy_px in boxes:
        writer.write(np.ascontiguousarray(picture(xyxy_px)[..., ::-1]))
    writer.release()
    return path

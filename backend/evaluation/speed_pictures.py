"""JPEG files to measure speed with, and any number of different files made of them."""

from __future__ import annotations

from pathlib import Path

import cv2

from backend.errors import ImageSetInvalid
from backend.evaluation.drawn import draw_picture

SIDE_PX = 500
"""Longest side of drawn pictures."""

_SHAPES = ((375, SIDE_PX), (SIDE_PX, 375), (SIDE_PX, SIDE_PX), (333, SIDE_PX))
_QUALITY = 90
_START_OF_IMAGE, _COMMENT = b"\xff\xd8", b"\xff\xfe"


def jpeg_files(folder: Path | None, count: int) -> tuple[bytes, ...]:
    """So many JPEG files at most: those below a folder, evenly spaced by name; None: drawn ones.

    Raises: ImageSetInvalid where the folder has none.
    """
    if folder is None:
        return tuple(_drawn(number) for number in range(count))
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise ImageSetInvalid(
            f"There is no .jpg or .jpeg file in or below {folder}.",
            "Name a folder of pictures, or leave --data out to have some drawn.",
        )
    count = min(count, len(paths))
    return tuple(paths[at * len(paths) // count].read_bytes() for at in range(count))


def marked(jpeg: bytes, mark: str) -> bytes:
    """A JPEG file of the same pixels with a comment in it: to every cache another picture.

    mark: at most some hundred letters. Raises: ImageSetInvalid for what is no JPEG.
    """
    if jpeg[:2] != _START_OF_IMAGE:
        raise ImageSetInvalid(
            "A file that is named like a JPEG picture is none.", "Take it out of the folder."
        )
    text = mark.encode()
    length = (len(text) + 2).to_bytes(2, "big")  # counts itself
    return _START_OF_IMAGE + _COMMENT + length + text + jpeg[2:]


def _drawn(number: int) -> bytes:
    rgb_u8 = draw_picture(number, _SHAPES[number % len(_SHAPES)], share=(0.5, 0.8)).rgb_u8
    encoded = cv2.imencode(".jpg", rgb_u8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return bytes(encoded.tobytes())

"""Clips with a true box on every frame: a video file beside ``boxes.csv``."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.domain import FloatArray
from backend.errors import ImageSetInvalid

VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".ogv", ".mpg", ".mpeg")
_COLUMNS = ("frame", "visible", "x0", "y0", "x1", "y1")
_LAYOUT = (
    "Lay it out as one video file beside boxes.csv with the columns "
    f"{', '.join(_COLUMNS)} (frames from 0, pixels), and info.json with its label, if any."
)


@dataclass(frozen=True)
class Filmed:
    """name: of the folder. label: of the one thing that is followed.

    xyxy_px: (N, 4) its box on each frame, NaN where it is not to be seen.
    """

    name: str
    path: Path
    label: str
    xyxy_px: FloatArray

    @property
    def visible(self) -> list[int]:
        """Numbers of the frames on which it is to be seen."""
        return [int(at) for at in np.flatnonzero(~np.isnan(self.xyxy_px[:, 0]))]


def read_filmed(folder: Path) -> Filmed:
    """The clip of a folder. Raises: ImageSetInvalid."""
    videos = sorted(one for one in folder.glob("*") if one.suffix.lower() in VIDEO_SUFFIXES)
    table = folder / "boxes.csv"
    if len(videos) != 1 or not table.is_file():
        raise ImageSetInvalid(f"{folder} holds {len(videos)} videos, or no boxes.csv.", _LAYOUT)
    label = "object"
    if (info := folder / "info.json").is_file():
        told = json.loads(info.read_text("utf-8"))
        label = str(told.get("label", label)) if isinstance(told, dict) else label
    return Filmed(folder.name, videos[0], label, _read_boxes(table))


def _read_boxes(table: Path) -> FloatArray:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        numbers = [int(row["frame"]) for row in rows]
        boxes = [
            [float(row[edge]) for edge in _COLUMNS[2:]] if int(row["visible"]) else [np.nan] * 4
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ImageSetInvalid(f"{table} cannot be read: {error}.", _LAYOUT) from None
    if not rows or numbers != list(range(len(rows))):
        raise ImageSetInvalid(f"{table} has not exactly one row a frame, from 0.", _LAYOUT)
    return np.array(boxes, np.float32)

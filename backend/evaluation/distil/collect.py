"""Reading a checked-out tiny-imagenet-200 folder into one compact archive.

The folder has ``train/<wnid>/images/*.JPEG`` beside ``train/<wnid>/<wnid>_boxes.txt``; a
line of that file is a row: file name, x0, y0, x1, y1 in pixels. Rows 61 to 120 of every
class stay out: they are kept apart for measuring. So does every photo that is, byte for
byte, one of those or one of the measuring archives given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from backend.errors import MediaMissing

WITHHELD_ROWS = range(60, 120)
"""Rows of each class that no training may see, counted from 0."""


def collect_archive(
    source: Path, classes_file: Path, out: Path, measuring: Iterable[Path] = ()
) -> int:
    """Writes out as an npz archive of the training rows of source; returns their number.

    source: the folder ``tiny-imagenet-200``. classes_file: JSON list of objects with
    ``label``, ``wnid``, ``imagenet_index``. measuring: archives (same arrays) whose rows of
    split 1 must not be trained on. Raises MediaMissing where a class has no rows.
    """
    classes = json.loads(classes_file.read_text(encoding="utf-8"))
    forbidden = {digest for archive in measuring for digest in _measured_digests(archive)}
    rows: list[tuple[bytes, int, int, tuple[int, int, int, int]]] = []
    for entry in classes:
        folder = source / "train" / entry["wnid"]
        listing = folder / f"{entry['wnid']}_boxes.txt"
        if not listing.is_file():
            raise MediaMissing(f"{listing} is missing.", "Point to a whole tiny-imagenet-200.")
        for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines()):
            name, *corners = line.split()
            encoded = (folder / "images" / name).read_bytes()
            if number in WITHHELD_ROWS:
                forbidden.add(_digest(encoded))
                continue
            x0, y0, x1, y1 = (int(corner) for corner in corners)
            rows.append((encoded, entry["label"], entry["imagenet_index"], (x0, y0, x1, y1)))
    rows = [row for row in rows if _digest(row[0]) not in forbidden]
    offsets = np.cumsum([0, *(len(row[0]) for row in rows)], dtype=np.int64)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        out,
        data=np.frombuffer(b"".join(row[0] for row in rows), np.uint8),
        offsets=offsets,
        label=np.array([row[1] for row in rows], np.int16),
        imagenet_index=np.array([row[2] for row in rows], np.int16),
        split=np.zeros(len(rows), np.uint8),
        box=np.array([row[3] for row in rows], np.uint8),
    )
    return len(rows)


def _measured_digests(archive: Path) -> list[bytes]:
    with np.load(archive) as stored:
        data, offsets, split = stored["data"], stored["offsets"], stored["split"]
    return [
        _digest(data[offsets[i] : offsets[i + 1]].tobytes()) for i in np.flatnonzero(split == 1)
    ]


def _digest(encoded: bytes) -> bytes:
    return hashlib.sha256(encoded).digest()

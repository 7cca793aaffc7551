"""Pools of equally large training photos held as one tensor on the device."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.domain import U8Array
from backend.errors import MediaUnreadable, ShapeError


@dataclass(frozen=True)
class PhotoPool:
    """Photos of one size with what is known about them.

    rgb_u8: (N, 3, H, W) uint8. class_index: (N,) int64, place among the network's outputs.
    box_unit: (N, 4) float32 x0 y0 x1 y1 as shares of the side, or None where no box is
        known. class_space: (K,) int64, the outputs that compete for the label; None: all.
    """

    rgb_u8: Tensor
    class_index: Tensor
    box_unit: Tensor | None
    class_space: Tensor | None

    def __post_init__(self) -> None:
        count = len(self.rgb_u8)
        if self.rgb_u8.ndim != 4 or self.rgb_u8.shape[1] != 3 or self.class_index.shape != (count,):
            raise ShapeError(
                f"A pool needs rgb_u8 (N, 3, H, W) and class_index (N,), got "
                f"{tuple(self.rgb_u8.shape)} and {tuple(self.class_index.shape)}."
            )

    def __len__(self) -> int:
        return len(self.rgb_u8)

    def to(self, device: torch.device) -> PhotoPool:
        """The same pool on device."""
        return PhotoPool(
            self.rgb_u8.to(device),
            self.class_index.to(device),
            None if self.box_unit is None else self.box_unit.to(device),
            None if self.class_space is None else self.class_space.to(device),
        )

    def select(self, index: Tensor) -> PhotoPool:
        """The photos at these places, in this order."""
        return PhotoPool(
            self.rgb_u8[index],
            self.class_index[index],
            None if self.box_unit is None else self.box_unit[index],
            self.class_space,
        )


def load_boxed_photos(archives: Sequence[Path], split: int) -> PhotoPool:
    """Every photo of one split (0 training, 1 measuring) of npz archives of 64 px JPEGs.

    The archives hold ``data``, ``offsets``, ``imagenet_index``, ``split`` and ``box``
    (corners in pixels, the last row and column included). Raises MediaUnreadable.
    """
    photos: list[U8Array] = []
    classes: list[int] = []
    boxes: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    for archive in archives:
        with np.load(archive) as stored:
            data, offsets, box = stored["data"], stored["offsets"], stored["box"]
            index, splits = stored["imagenet_index"], stored["split"]
        for i in np.flatnonzero(splits == split):
            photos.append(_decode(data[offsets[i] : offsets[i + 1]], f"photo {i} of {archive}"))
            classes.append(int(index[i]))
            boxes.append(box[i].astype(np.float32))
    if not photos:
        raise MediaUnreadable(f"No photo of split {split} in {[str(a) for a in archives]}.")
    side = photos[0].shape[0]
    corners = np.stack(boxes)
    corners[:, 2:] += 1
    return PhotoPool(
        torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(classes),
        torch.from_numpy(corners / side).clamp(0, 1),
        torch.unique(torch.tensor(classes)),
    )


def load_sharp_photos(archive: Path, side_px: int) -> PhotoPool:
    """All photos of a zip whose file names begin with the class index, squashed to side_px."""
    photos: list[U8Array] = []
    classes: list[int] = []
    with zipfile.ZipFile(archive) as stored:
        for name in sorted(n for n in stored.namelist() if n.lower().endswith((".jpg", ".jpeg"))):
            encoded = np.frombuffer(stored.read(name), np.uint8)
            photo = _decode(encoded, f"{name} of {archive}")
            photos.append(
                np.asarray(cv2.resize(photo, (side_px, side_px), interpolation=cv2.INTER_AREA))
            )
            classes.append(int(Path(name).name.split("_")[0]))
    if not photos:
        raise MediaUnreadable(f"No photo in {archive}.")
    rgb = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous()
    return PhotoPool(rgb, torch.tensor(classes), None, None)


def _decode(encoded: U8Array, what: str) -> U8Array:
    bgr = cv2.imdecode(np.ascontiguousarray(encoded), cv2.IMREAD_COLOR)
    if bgr is None:
        raise MediaUnreadable(f"Cannot decode {what}.")
    return np.ascontiguousarray(bgr[..., ::-1])


def keep_every(pool: PhotoPool, nth: int) -> tuple[PhotoPool, PhotoPool]:
    """Every nth photo, and all the others."""
    chosen = torch.arange(len(pool)) % nth == 0
    return pool.select(torch.nonzero(chosen).flatten()), pool.select(
        torch.nonzero(~chosen).flatten()
    )

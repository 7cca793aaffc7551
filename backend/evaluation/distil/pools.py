"""Which photos a run is trained on, which it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from backend.evaluation.distil.photos import (
    PhotoPool,
    keep_every,
    load_boxed_photos,
    load_sharp_photos,
)

SHARP_PX = 224
HELD_OUT_NTH = 10
"""Of the sharp photos, every tenth is only measured on."""


def training_pools(
    photos: Sequence[Path], sharp: Path | None, device: torch.device
) -> tuple[PhotoPool, PhotoPool | None]:
    """The small photos with boxes and, where there is a zip of them, the sharp ones."""
    boxed = load_boxed_photos(photos, split=0).to(device)
    if sharp is None:
        return boxed, None
    return boxed, keep_every(load_sharp_photos(sharp, SHARP_PX), HELD_OUT_NTH)[1].to(device)


def held_out_pools(
    measuring: Path, sharp: Path | None, device: torch.device, nth: int = 1
) -> dict[str, PhotoPool]:
    """Photos of no training by name, of the ``small`` ones every nth."""
    pools = {"small": keep_every(load_boxed_photos([measuring], split=1), nth)[0].to(device)}
    if sharp is not None:
        pools["sharp"] = keep_every(load_sharp_photos(sharp, SHARP_PX), HELD_OUT_NTH)[0].to(device)
    return pools

"""A square window that moves over a picture, and what its places say of each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from backend.errors import LabelConfigInvalid
from backend.vision.options import within, within_or_none


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """patch: side of the window. stride: how far it moves. Both are shares of the picture's
    side; a stride that is not given is the ``USUAL_STRIDE`` of the patch. There are at most
    1521 places.

    Raises: LabelConfigInvalid for a stride that would leave out pixels.
    """

    USUAL_STRIDE: ClassVar[float] = 0.5

    patch: float = within(0.2, 0.05, 1.0)
    stride: float | None = within_or_none(0.025, 1.0)

    def __post_init__(self) -> None:
        if self.stride is not None and self.stride > self.patch:
            raise LabelConfigInvalid(
                f"model_stride={self.stride:g} leaves pixels between windows of "
                f"model_patch={self.patch:g}.",
                "Give a stride that is no larger than the patch.",
            )

    def windows(self, side_px: int) -> Windows:
        """The places on a square picture."""
        given = self.patch * self.USUAL_STRIDE if self.stride is None else self.stride
        # Rounded up, there are never more places than the shares say.
        patch_px, stride_px = (math.ceil(share * side_px - 1e-6) for share in (self.patch, given))
        return Windows(side_px, patch_px, stride_px)


@dataclass(frozen=True, slots=True)
class Windows:
    """Places row by row, from the top left; the last of a row is cut off at the border."""

    side_px: int
    patch_px: int
    stride_px: int

    def __len__(self) -> int:
        return self.per_side**2

    @property
    def per_side(self) -> int:
        """Places along either axis."""
        return math.ceil((self.side_px - self.patch_px) / self.stride_px) + 1

    def spans_px(self) -> list[tuple[int, int]]:
        """From and to (excluded) of the places along either axis."""
        starts = [place * self.stride_px for place in range(self.per_side)]
        return [(start, min(start + self.patch_px, self.side_px)) for start in starts]

    def masks(self, places: Tensor) -> Tensor:
        """(n, S, S) float32 masks: 0 in the window at a place, 1 elsewhere."""
        along = self._along(places.device)
        rows = along[torch.div(places, self.per_side, rounding_mode="floor")]
        return 1 - rows[:, :, None] * along[places % self.per_side][:, None]

    def mean_over_places(self, values: Tensor) -> Tensor:
        """(S, S): of each pixel the mean value of the windows that hold it; values: (N,)."""
        along = self._along(values.device)
        total = along.T @ values.reshape(self.per_side, self.per_side) @ along
        held = along.sum(0)
        return total / (held[:, None] * held)

    def _along(self, device: torch.device) -> Tensor:
        """(per_side, S): 1 where a place holds a row (or column), 0 elsewhere."""
        held = torch.zeros((self.per_side, self.side_px), device=device)
        for place, (start, stop) in enumerate(self.spans_px()):
            held[place, start:stop] = 1
        return held

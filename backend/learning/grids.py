"""The whitened grids of many pictures, of which few are in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.domain import FloatArray
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.scene import grids_of
from backend.learning.side_by_side import side_by_side
from backend.learning.whitening import Whitening

KEPT_BYTES = 256 * 1024**2
"""Of grids kept for the second look: those of 140 pictures, of 70 with small objects."""

FeaturePair = tuple[PictureFeatures, PictureFeatures]
"""Of a picture upright and mirrored."""

PictureGrids = tuple[FloatArray, ...]
"""(G, G, D) of each view."""


@dataclass(frozen=True, slots=True)
class FirstLook:
    """A picture's grids both ways round, and the cells (C, h, w) that a backbone's head reads.

    cells: upright, of the smaller view, whose side is nearest to that of training.
    """

    upright: PictureGrids
    mirrored: PictureGrids
    cells: F16Array


class Grids:
    """Grids for the two looks that fitting takes at every picture.

    features: by picture; asked at each look, so that they need not be in memory either.
    """

    def __init__(
        self,
        features: Mapping[str, FeaturePair],
        whitening: Whitening,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._features = features
        self._whitening = whitening
        self._kept: dict[str, PictureGrids] = {}
        self._room_bytes = kept_bytes

    def first(self, picture: str) -> FirstLook:
        """Both ways round; the upright grids are kept while there is room."""
        pair = self._features[picture]
        upright, mirrored = side_by_side(lambda one: grids_of(one, self._whitening), *pair)
        taken = sum(grid.nbytes for grid in upright)
        if taken <= self._room_bytes:
            self._kept[picture] = upright
            self._room_bytes -= taken
        return FirstLook(upright, mirrored, pair[0].views[0][-1])

    def second(self, picture: str) -> PictureGrids:
        """Upright; what was kept of them is let go."""
        kept = self._kept.pop(picture, None)
        return kept or grids_of(self._features[picture][0], self._whitening)

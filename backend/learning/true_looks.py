"""What accepted boxes look like, kept from each picture to fit the naming of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.domain import FloatArray
from backend.learning.boxmath import mirror
from backend.learning.features import F16Array
from backend.learning.grids import PictureGrids
from backend.learning.naming import Naming, box_vectors, fit_naming

_JITTER, _JITTERED, _FEW = 0.06, 3, 30
"""Of few pictures every box is also taken a little beside itself."""


def true_looks(
    boxes: FloatArray, upright: PictureGrids, mirrored: PictureGrids, *, pictures: int, seed: int
) -> F16Array:
    """(C, M, F): vectors of a picture's boxes (M, 4) in C copies, turned and moved.

    pictures: how many there are in all. seed: of the moves.
    """
    random = np.random.RandomState(seed)
    copies = []
    for grids, here in ((upright, boxes), (mirrored, mirror(boxes))):
        size = np.tile(here[:, 2:] - here[:, :2], 2)
        for copy in range(_JITTERED if pictures < _FEW else 1):
            moved = here + _JITTER * size * random.randn(*here.shape) if copy else here
            copies.append(box_vectors(grids, moved.astype(np.float32)).astype(np.float16))
    return np.stack(copies)


def naming_of(
    looks: Sequence[F16Array], label: Sequence[tuple[int, ...]], labels: int
) -> Naming | None:
    """Fitted to looks and labels of each picture; None without a box."""
    known = [name for one, here in zip(looks, label, strict=True) for _ in one for name in here]
    if not known:
        return None
    vectors = np.concatenate([one.reshape(-1, one.shape[2]) for one in looks])
    return fit_naming(vectors.astype(np.float32), known, labels)

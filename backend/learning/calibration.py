"""How far stated probabilities are from what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.errors import ShapeError

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of nearly the same probability.

    low, high: the edges, half-open but for the last bin. stated: mean probability.
    happened: share that came true. Both are 0 where count is 0.
    """

    low: float
    high: float
    count: int
    stated: float
    happened: float


def reliability(
    probability: npt.ArrayLike, happened: npt.ArrayLike, bins: int = BINS
) -> tuple[Bin, ...]:
    """Equally wide bins over [0, 1], lowest first.

    probability: (N,) in [0, 1]. happened: (N,). Raises: ShapeError where they differ.
    """
    stated, true = np.asarray(probability, np.float32), np.asarray(happened, bool)
    if stated.ndim != 1 or stated.shape != true.shape:
        raise ShapeError(
            f"Probabilities and outcomes must be (N,) both, got {stated.shape} and {true.shape}."
        )
    # Edges as numbers, not a multiplication: 0.7 * 10 in float32 may fall into either bin.
    edges = np.linspace(0.0, 1.0, bins + 1).astype(np.float32)
    place = np.clip(np.searchsorted(edges, stated, "right") - 1, 0, bins - 1)
    found = []
    for at in range(bins):
        inside = place == at
        count = int(inside.sum())
        found.append(
            Bin(
                at / bins,
                (at + 1) / bins,
                count,
                float(stated[inside].mean()) if count else 0.0,
                float(true[inside].mean()) if count else 0.0,
            )
        )
    return tuple(found)


def expected_calibration_error(
    probability: npt.ArrayLike, happened: npt.ArrayLike, bins: int = BINS
) -> float:
    """Mean distance of stated and observed probability over all predictions; 0 for none.

    Arguments as ``reliability``. Source: Naeini et al. 2015, with equally wide bins.
    """
    found = reliability(probability, happened, bins)
    total = max(1, sum(part.count for part in found))
    return sum(part.count / total * abs(part.stated - part.happened) for part in found)

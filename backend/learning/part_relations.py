"""How the parts of a thing lie to each other: a tree of springs between them.

Pictorial structures of Felzenszwalb & Huttenlocher 2005: the offset of a part from another
is a Gaussian, the tree is the one of least spread, and the best places of all parts together
are found exactly by dynamic programming. Differs: of each part only the highest peaks of its
map are candidates, and a spring gives way beyond a limit, so that a part which is not in the
picture does not pull the others along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray, IntArray
from backend.vision.peaks import Peaks

CANDIDATES = 8
"""Peaks of a part's map among which its place is chosen."""

_WEIGHT = 40.0
"""Of a map's value (1 on a part) beside the squared offset in standard deviations, halved."""

_LIMIT = 18.0
"""Most that a spring takes away: at six standard deviations."""

_BROAD, _BROAD_COUNTS = 0.1, 2.0
"""Standard deviation of an offset, in picture units, before anything is known of it, and how
many pictures that counts for."""

_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Relations:
    """parent (K,): position of the part that each hangs on, -1 at a root. order (K,): parents
    before what hangs on them. offset (K, 2) from the parent, precision (K, 2, 2) of it.
    """

    parent: IntArray
    order: IntArray
    offset: FloatArray
    precision: FloatArray

    def choose(self, candidates: Sequence[Peaks]) -> list[int]:
        """Which candidate of each part to take, -1 where it has none."""
        best = [_WEIGHT * one.value.astype(np.float64) for one in candidates]
        choice_of: dict[int, IntArray] = {}
        for part in self.order[::-1].tolist():
            parent = int(self.parent[part])
            if parent < 0 or not len(candidates[part]) or not len(candidates[parent]):
                continue
            joined = best[part][None] - self._strain(part, candidates[parent], candidates[part])
            choice_of[part] = joined.argmax(1)
            best[parent] = best[parent] + joined.max(1)
        chosen = [-1] * len(candidates)
        for part in self.order.tolist():
            if part in choice_of:
                chosen[part] = int(choice_of[part][chosen[int(self.parent[part])]])
            elif len(candidates[part]):
                chosen[part] = int(best[part].argmax())
        return chosen

    def strain(self, places: Sequence[FloatArray | None]) -> FloatArray:
        """(K,) how much the spring of each part and of those that hang on it are stretched,
        the mean of them in 0..1; 0 where there is none. places: (2,) of each, None if absent.
        """
        total, count = np.zeros(len(places)), np.zeros(len(places))
        for part, place in enumerate(places):
            parent = int(self.parent[part])
            other = places[parent] if parent >= 0 else None
            if place is None or other is None:
                continue
            one, two = (Peaks(at[None], np.ones(1, np.float32)) for at in (other, place))
            stretched = self._strain(part, one, two)[0, 0] / _LIMIT
            for end in (part, parent):
                total[end] += stretched
                count[end] += 1
        return np.asarray(total / np.maximum(count, 1), np.float32)

    def _strain(self, part: int, parents: Peaks, parts: Peaks) -> npt.NDArray[np.float64]:
        """(P, N) between each place of the parent and of the part."""
        off = parts.xy_unit[None] - parents.xy_unit[:, None] - self.offset[part]
        squared = np.einsum("pni,ij,pnj->pn", off, self.precision[part], off)
        return np.asarray(np.minimum(squared / 2, _LIMIT), np.float64)


def fit_relations(places: FloatArray) -> Relations:
    """The tree of parts. places: (P, K, 2) in picture units, NaN where a part is not there.

    Parts that were never seen together are not joined; several trees may be left.
    """
    count = places.shape[1]
    offset = np.zeros((count, count, 2))
    spread = np.tile(_BROAD**2 * np.eye(2), (count, count, 1, 1))
    cost = np.full((count, count), np.inf)
    for one in range(count):
        for two in range(count):
            seen = (places[:, two] - places[:, one]).astype(np.float64)
            seen = seen[~np.isnan(seen).any(1)]
            if one == two or len(seen) < _FEWEST:
                continue
            offset[one, two] = seen.mean(0)
            around = seen - offset[one, two]
            known = around.T @ around + _BROAD_COUNTS * _BROAD**2 * np.eye(2)
            spread[one, two] = known / (len(seen) + _BROAD_COUNTS)
            cost[one, two] = np.linalg.slogdet(spread[one, two])[1]
    parent, order = _tree(cost)
    on = np.maximum(parent, 0)
    parts = np.arange(count)
    return Relations(
        parent,
        order,
        offset[on, parts].astype(np.float32),
        np.linalg.inv(spread[on, parts]).astype(np.float32).reshape(count, 2, 2),
    )


def _tree(cost: npt.NDArray[np.float64]) -> tuple[IntArray, IntArray]:
    """Parents and order of the minimum spanning forest (Prim), from the closest pair on."""
    count = len(cost)
    parent = np.full(count, -1, np.int64)
    order: list[int] = []
    while len(order) < count:
        rest = [part for part in range(count) if part not in order]
        links = cost[np.ix_(order, rest)]
        if links.size and np.isfinite(links.min()):
            one, two = np.unravel_index(int(links.argmin()), links.shape)
            parent[rest[two]] = order[one]
            order.append(rest[two])
        else:
            order.append(min(rest, key=lambda part: float(cost[part].min())))
    return parent, np.array(order, np.int64)

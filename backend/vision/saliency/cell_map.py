"""Registration of methods that give each of the last cells one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.cam import beside_norm
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency

CellMap = TypeVar("CellMap", bound=Callable[[Looked, Target], Tensor])


def cell_map(name: str) -> Callable[[CellMap], CellMap]:
    """Register a function that gives (B, h, w) values of any range, and return it unchanged.

    Its boxes are those of ``cam``: by threshold, and beside the feature norm where the
    target holds only the classes that the network takes an unknown thing for.
    """

    def add(values: CellMap) -> CellMap:
        def draw(looked: Looked, target: Target) -> SaliencyMap:
            return to_saliency(values(looked, target))

        def without_class(looked: Looked, target: Target) -> SaliencyMap:
            return to_saliency(beside_norm(looked, values(looked, target)))

        saliency(name, box_rule="threshold", without_class=without_class)(draw)
        return values

    return add

"""Registration of methods that give each of the last cells one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.cam import beside_norm
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency

CellMap = TypeVar("CellMap", bound=Callable[..., Tensor])


def cell_map(name: str, *, options: type[Any] | None = None) -> Callable[[CellMap], CellMap]:
    """Register a function (looked, target) that gives (B, h, w) values of any range.

    It is returned unchanged. options: as for ``saliency``. Its boxes are those of ``cam``:
    by threshold, and beside the feature norm where the target holds only the classes that
    the network takes an unknown thing for.
    """

    def add(values: CellMap) -> CellMap:
        def draw(looked: Looked, target: Target, *chosen: Any) -> SaliencyMap:
            return to_saliency(values(looked, target, *chosen))

        def without_class(looked: Looked, target: Target, *chosen: Any) -> SaliencyMap:
            return to_saliency(beside_norm(looked, values(looked, target, *chosen)))

        saliency(name, box_rule="threshold", without_class=without_class, options=options)(draw)
        return values

    return add

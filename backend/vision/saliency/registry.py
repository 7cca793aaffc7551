"""Saliency methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from backend.domain import SaliencyMap
from backend.errors import ShapeError
from backend.vision.look import Looked
from backend.vision.registry import Registry


@dataclass(frozen=True, slots=True)
class Target:
    """What the map of each picture shall explain: a weighted sum of class scores.

    class_index: (B, K) int64. weight: (B, K) float32; a weight of 0 switches an entry off.
    """

    class_index: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        if self.class_index.ndim != 2 or self.class_index.shape != self.weight.shape:
            raise ShapeError(
                "A target needs (B, K) classes and weights, got "
                f"{tuple(self.class_index.shape)} and {tuple(self.weight.shape)}."
            )


Draw = Callable[[Looked, Target], SaliencyMap]


@dataclass(frozen=True, slots=True)
class SaliencyMethod:
    """A way to draw maps.

    draw: the maps of a batch. box_rule: the rule that suits its maps.
    without_class: draws for pictures of which no class is known.
    """

    name: str
    draw: Draw
    box_rule: str
    without_class: Draw


SALIENCY: Registry[SaliencyMethod] = Registry("saliency method")


def saliency(
    name: str, *, box_rule: str, without_class: Draw | None = None
) -> Callable[[Draw], Draw]:
    """Register a function that draws maps; without_class: itself where not given."""

    def add(draw: Draw) -> Draw:
        SALIENCY.add(name, SaliencyMethod(name, draw, box_rule, without_class or draw))
        return draw

    return add

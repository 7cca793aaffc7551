"""Saliency methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from backend.domain import SaliencyMap
from backend.errors import ShapeError
from backend.vision.look import Looked
from backend.vision.options import NO_OPTIONS, read_options
from backend.vision.registry import Registry
from backend.vision.saliency.averaged import averaged


@dataclass(frozen=True, slots=True)
class Target:
    """What the map of each picture shall explain: a weighted sum of class scores.

    class_index: (B, K) int64. weight: (B, K) float32; a weight of 0 switches an entry off.
    group: (B,) int64, the same number for pictures of one class, which methods over many
    pictures may then compare; None: each picture stands alone, so that no map depends on
    what else is in the batch.
    """

    class_index: Tensor
    weight: Tensor
    group: Tensor | None = None

    def __post_init__(self) -> None:
        if self.class_index.ndim != 2 or self.class_index.shape != self.weight.shape:
            raise ShapeError(
                "A target needs (B, K) classes and weights, got "
                f"{tuple(self.class_index.shape)} and {tuple(self.weight.shape)}."
            )
        if self.group is not None and self.group.shape != self.class_index.shape[:1]:
            raise ShapeError(
                f"A group needs a number for each of {len(self.class_index)} pictures, "
                f"got {tuple(self.group.shape)}."
            )


class Draw(Protocol):
    """Draws a map of each picture.

    given: options as text, with or without "model_". Raises: LabelConfigInvalid for one
    that cannot be read.
    """

    def __call__(
        self, looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS
    ) -> SaliencyMap: ...


@dataclass(frozen=True, slots=True)
class SaliencyMethod:
    """A way to draw maps.

    draw: the maps of a batch. box_rule: the rule that suits its maps.
    without_class: draws for pictures of which no class is known.
    options: the dataclass of its own options, None where it has none. Those of
    ``averaged.Views`` belong to every method and are not among them.
    """

    name: str
    draw: Draw
    box_rule: str
    without_class: Draw
    options: type[Any] | None = None


SALIENCY: Registry[SaliencyMethod] = Registry("saliency method")

F = TypeVar("F", bound=Callable[..., SaliencyMap])


def saliency(
    name: str,
    *,
    box_rule: str,
    without_class: Callable[..., SaliencyMap] | None = None,
    options: type[Any] | None = None,
) -> Callable[[F], F]:
    """Register a function (looked, target) that draws maps, and return it unchanged.

    options: a dataclass of fields of ``backend.vision.options``; the functions then take
    an instance of it as a third argument. without_class: the function itself where not given.
    """

    def add(function: F) -> F:
        draw = averaged(_reading(function, options))
        blind = draw if without_class is None else averaged(_reading(without_class, options))
        SALIENCY.add(name, SaliencyMethod(name, draw, box_rule, blind, options))
        return function

    return add


def _reading(function: Callable[..., SaliencyMap], options: type[Any] | None) -> Draw:
    def draw(looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS) -> SaliencyMap:
        if options is None:
            return function(looked, target)
        return function(looked, target, read_options(options, given))

    return draw

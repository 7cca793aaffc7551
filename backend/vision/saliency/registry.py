"""Saliency methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from torch import Tensor

from backend.domain import SaliencyMap
from backend.errors import ShapeError
from backend.vision.look import Looked
from backend.vision.options import read_options
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


NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


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
    options: the dataclass of its own options, None where it has none.
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
        draw = _reading(function, options)
        blind = draw if without_class is None else _reading(without_class, options)
        SALIENCY.add(name, SaliencyMethod(name, draw, box_rule, blind, options))
        return function

    return add


def _reading(function: Callable[..., SaliencyMap], options: type[Any] | None) -> Draw:
    def draw(looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS) -> SaliencyMap:
        if options is None:
            return function(looked, target)
        return function(looked, target, read_options(options, given))

    return draw

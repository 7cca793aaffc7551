"""Box rules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from backend.domain import Boxes, FloatArray, Picture
from backend.vision.registry import Registry

BoxRule = Callable[[Sequence[FloatArray], Sequence[Picture], Mapping[str, str]], list[Boxes]]
"""(h, w) float32 maps in 0..1, the picture of each, options as text -> unnamed boxes of each
map, best first. No map's boxes depend on the maps beside it."""

BOX_RULES: Registry[BoxRule] = Registry("box rule")


def box_rule(name: str) -> Callable[[BoxRule], BoxRule]:
    """Register a rule that turns maps into boxes."""

    def add(rule: BoxRule) -> BoxRule:
        BOX_RULES.add(name, rule)
        return rule

    return add

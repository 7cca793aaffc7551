"""Box rules by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backend.domain import Boxes, FloatArray, Picture
from backend.vision.registry import Registry

BoxRule = Callable[[FloatArray, Picture, Mapping[str, str]], Boxes]
"""(h, w) float32 map in 0..1, its picture, options as text -> unnamed boxes, best first."""

BOX_RULES: Registry[BoxRule] = Registry("box rule")


def box_rule(name: str) -> Callable[[BoxRule], BoxRule]:
    """Register a rule that turns one map into boxes."""

    def add(rule: BoxRule) -> BoxRule:
        BOX_RULES.add(name, rule)
        return rule

    return add

"""From a map to boxes: one file a rule."""

from backend.vision.boxes import multi_level, quantile_grabcut, threshold
from backend.vision.boxes.registry import BOX_RULES, BoxRule

__all__ = ["BOX_RULES", "BoxRule", "get", "multi_level", "names", "quantile_grabcut", "threshold"]


def names() -> tuple[str, ...]:
    """Every box rule."""
    return BOX_RULES.names()


def get(name: str) -> BoxRule:
    """The rule. Raises: UnknownName."""
    return BOX_RULES.get(name)

"""Where a network looked: one file a family of methods."""

from backend.vision.saliency import cam, gradient, objectness
from backend.vision.saliency.cam import OBJECTS
from backend.vision.saliency.registry import SALIENCY, SaliencyMethod, Target

__all__ = [
    "OBJECTS",
    "SALIENCY",
    "SaliencyMethod",
    "Target",
    "cam",
    "get",
    "gradient",
    "names",
    "objectness",
]


def names() -> tuple[str, ...]:
    """Every saliency method."""
    return SALIENCY.names()


def get(name: str) -> SaliencyMethod:
    """The method. Raises: UnknownName."""
    return SALIENCY.get(name)

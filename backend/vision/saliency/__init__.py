"""Where a network looked: one file a family of methods."""

from backend.vision.saliency import (
    ablation_cam,
    cam,
    eigen_cam,
    gradient,
    gradient_cam,
    objectness,
    score_cam,
)
from backend.vision.saliency.cam import OBJECTS
from backend.vision.saliency.registry import SALIENCY, SaliencyMethod, Target

__all__ = [
    "OBJECTS",
    "SALIENCY",
    "SaliencyMethod",
    "Target",
    "ablation_cam",
    "cam",
    "eigen_cam",
    "get",
    "gradient",
    "gradient_cam",
    "names",
    "objectness",
    "score_cam",
]


def names() -> tuple[str, ...]:
    """Every saliency method."""
    return SALIENCY.names()


def get(name: str) -> SaliencyMethod:
    """The method. Raises: UnknownName."""
    return SALIENCY.get(name)

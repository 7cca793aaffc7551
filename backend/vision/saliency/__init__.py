"""Where a network looked: one file a family of methods."""

from backend.vision.saliency import (
    ablation_cam,
    attention,
    cam,
    descriptor_transform,
    eigen_cam,
    excitation,
    fully_convolutional,
    gradient,
    gradient_cam,
    guided_gradcam,
    guided_mask,
    meaningful_perturbation,
    objectness,
    occlusion,
    prediction_difference,
    ram,
    rise,
    score_cam,
    self_taught,
    soft_proposal,
    spectral_residual,
)
from backend.vision.saliency.cam import OBJECTS
from backend.vision.saliency.registry import SALIENCY, SaliencyMethod, Target

__all__ = [
    "OBJECTS",
    "SALIENCY",
    "SaliencyMethod",
    "Target",
    "ablation_cam",
    "attention",
    "cam",
    "descriptor_transform",
    "eigen_cam",
    "excitation",
    "fully_convolutional",
    "get",
    "gradient",
    "gradient_cam",
    "guided_gradcam",
    "guided_mask",
    "meaningful_perturbation",
    "names",
    "objectness",
    "occlusion",
    "prediction_difference",
    "ram",
    "rise",
    "score_cam",
    "self_taught",
    "soft_proposal",
    "spectral_residual",
]


def names() -> tuple[str, ...]:
    """Every saliency method."""
    return SALIENCY.names()


def get(name: str) -> SaliencyMethod:
    """The method. Raises: UnknownName."""
    return SALIENCY.get(name)

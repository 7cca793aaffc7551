"""What the card beside the exported weights tells: origin, data, accuracy, limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from backend.evaluation.distil.checkpoint import RunState
from backend.vision.architectures import ARCHITECTURES
from backend.vision.choice import EMBEDDED, PREFERRED
from backend.vision.weight_files import file_digest

MADE = {
    "teacher": "Hidden channels of the teacher were removed until it had this size, its "
    "projections solved anew by least squares; then it was distilled from the teacher.",
    "random": "Distilled from the teacher, beginning with random weights.",
}
TEACHER = "torchvision's MobileNetV2 with ImageNet weights of the ONNX model zoo (Apache 2.0)"
DATA = (
    "Tiny ImageNet (200 classes, 64 px, a box each; rows 61 to 120 of every class and all "
    "photos measured on stay out) and one larger photo for each of the 1000 ImageNet classes "
    "(every tenth is only measured on)."
)
LICENCE = (
    "Neither set of photos states a licence; ImageNet is offered for non-commercial research. "
    "No photo is part of this repository. Whoever may not rely on weights that saw such photos "
    "sets BACKBONE_WEIGHTS to others, or repeats docs/own-backbone.md with photos of his own."
)
LIMITS = (
    "It comes with the backend so that pictures are pre-annotated without any download; it is "
    "less accurate than its teacher.",
    "Of 800 of the 1000 classes it saw one photo each at most, beside the teacher's answers: "
    "their names are less reliable than those of the others.",
    "The larger photos may be among those that the teacher was trained on, which flatters the "
    "teacher's accuracy.",
    "Pictures are resized to a square before it sees them; small objects may vanish there.",
    "It was never measured on drawings, documents, or medical and aerial pictures.",
)
MEASURED = (
    "Shares over photos of no training, enlarged to 224 px. agreement: the teacher's first class "
    "is the first (top1) or among the five (top5) of this network. true: the same for the label, "
    "among the classes of the set. small: Tiny ImageNet, 200 classes; sharp: ImageNet, 1000 "
    "classes. map_cosine: likeness of the last cells to the teacher's."
)


def card_of(
    state: RunState,
    weights: bytes,
    teacher: Path,
    measured: Mapping[str, Mapping[str, float]],
    data: str = DATA,
    licence: str = LICENCE,
) -> dict[str, Any]:
    """The card of exported weights, ready for JSON.

    weights: content of the exported file. measured: shares by name of the pool.
    """
    architecture = ARCHITECTURES.get(EMBEDDED)
    model = architecture.build()
    start = str(state.notes.get("start", ""))
    return {
        "name": EMBEDDED,
        "digest": file_digest(weights),
        "bytes": len(weights),
        "architecture": {
            "torchvision": architecture.network,
            **dict(architecture.build_options),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "outputs": "the 1000 classes of ImageNet 2012, ascending WordNet ids",
            "side_px": architecture.size_px,
            "mean_rgb": architecture.mean_rgb,
            "std_rgb": architecture.std_rgb,
        },
        "made": MADE.get(start, start),
        "teacher": {
            "name": PREFERRED,
            "digest": file_digest(teacher.read_bytes()),
            "origin": TEACHER,
        },
        "training": {
            "steps": state.steps,
            "images": state.images,
            "hours": round(state.elapsed_s / 3600, 2),
            "torch": torch.__version__,
        },
        "data": data,
        "licence": licence,
        "measured": {**measured, "meaning": MEASURED},
        "limits": list(LIMITS),
    }

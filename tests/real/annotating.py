"""A person who turns a prediction into the true boxes, as Label Studio's editor would send it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from backend.domain import Boxes, iou_matrix
from backend.labelstudio.labelspec import LabelSpec
from backend.labelstudio.percent import xyxy_px_to_percent
from backend.labelstudio.regions import boxes_of, read_regions

WORTH_MOVING = 0.5
"""A box that overlaps less is deleted, and the true one drawn."""

GOOD_ENOUGH = 0.995

TRAINS_WHEN_ASKED = {
    "WORKERS": "1",
    "TRAIN_WORKERS": "1",
    "TRAIN_EVERY": "1000",
    "TRAIN_IDLE": "3600",
    "PREDICT_DEADLINE": "60",
    "PREDICT_INLINE_TASKS": "1000",
}
"""Settings of a backend that learns nothing until it is told to, and answers at once."""


def boxes_in(prediction: Mapping[str, Any], spec: LabelSpec, size_hw: tuple[int, int]) -> Boxes:
    """What a prediction proposes for the one control of the configuration."""
    (control,) = spec.controls
    return boxes_of(read_regions(prediction["result"], spec), size_hw, control=control.name)


def corrected(
    prediction: Mapping[str, Any], truth: Boxes, spec: LabelSpec
) -> tuple[list[dict[str, Any]], int | None]:
    """The result to submit, with the id of the prediction it was made from.

    Kept boxes are sent as they came, moved or renamed ones under their id, missing ones as
    drawn by hand; wrong ones are absent. The editor names no parent where there was no box.
    """
    found = boxes_in(prediction, spec, truth.size_hw)
    regions = list(prediction["result"])
    overlaps = iou_matrix(truth.xyxy_px, found.xyxy_px)
    result = []
    for at in range(len(truth)):
        wanted = _region(truth, at, spec)
        best = int(overlaps[at].argmax()) if regions else -1
        if best < 0 or overlaps[at, best] < WORTH_MOVING:
            result.append(wanted | {"id": secrets.token_urlsafe(8), "origin": "manual"})
            continue
        region = regions[best]
        same = overlaps[at, best] >= GOOD_ENOUGH and found.label[best] == truth.label[at]
        overlaps[:, best] = 0.0  # it is taken
        if same:
            result.append({**region, "origin": "prediction"})
        else:
            kept = {key: region[key] for key in ("id", "score") if key in region}
            result.append(wanted | kept | {"origin": "prediction-changed"})
    return result, int(prediction["id"]) if regions else None


def _region(truth: Boxes, at: int, spec: LabelSpec) -> dict[str, Any]:
    (control,) = spec.controls
    height, width = truth.size_hw
    percent = xyxy_px_to_percent([float(edge) for edge in truth.xyxy_px[at]], truth.size_hw)
    assert percent is not None
    return {
        "from_name": control.name,
        "to_name": control.to_name,
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**percent, "rotation": 0, "rectanglelabels": [truth.label[at]]},
    }

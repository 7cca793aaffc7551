"""Finished predictions in Label Studio's form."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, Points
from backend.errors import UnknownName
from backend.labelstudio.labelspec import FRAMERATE, Control, LabelSpec
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.sequences import KeyFrame, sequence_value
from backend.labelstudio.shapes import write_point, write_shape

__all__ = [
    "Found",
    "FoundBoxes",
    "FoundChoices",
    "FoundNumber",
    "FoundPoints",
    "FoundTrack",
    "FoundTracks",
    "build_prediction",
    "check_prediction",
]

_SCORE_DIGITS = 6


@dataclass(frozen=True)
class FoundBoxes:
    """Boxes of one control on one picture.

    item_index: which picture of a valueList, None for a single picture.
    boxes: label holds ``LabelName.value``, or ``UNNAMED``. polygons_px, masks_hw: the forms
    of the things in the boxes where the control draws such, (N, 2) x y and (h, w) over the
    whole picture; none: the boxes themselves.
    """

    control: str
    item_index: int | None
    boxes: Boxes
    polygons_px: tuple[FloatArray, ...] = ()
    masks_hw: tuple[BoolArray, ...] = ()


@dataclass(frozen=True)
class FoundPoints:
    """Key points of one control on one picture; item_index as in ``FoundBoxes``."""

    control: str
    item_index: int | None
    points: Points


@dataclass(frozen=True)
class FoundChoices:
    """Choices of one control on one picture; score in 0..1."""

    control: str
    item_index: int | None
    choices: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class FoundNumber:
    """The value of a Rating or Number; score in 0..1. value: None where there is no answer."""

    control: str
    value: float | None
    score: float


@dataclass(frozen=True)
class FoundTrack:
    """A thing through a video. label: ``LabelName.value``, or ``UNNAMED``. score: 0..1.

    key_frames: by ascending time.
    """

    label: str
    score: float
    key_frames: tuple[KeyFrame, ...]


@dataclass(frozen=True)
class FoundTracks:
    """Tracks of one control on its video. duration_s: of the whole video."""

    control: str
    tracks: tuple[FoundTrack, ...]
    duration_s: float


Found = FoundBoxes | FoundPoints | FoundChoices | FoundNumber | FoundTracks


def build_prediction(
    spec: LabelSpec,
    found: Sequence[Found],
    *,
    model_version: str,
    region_id_seed: str,
) -> dict[str, Any]:
    """``{"result": [...], "score": ..., "model_version": ...}``, ready to be checked and sent.

    region_id_seed: names task and version; equal seeds give equal region ids, by which
    an annotator's corrections find back to the box they correct.
    The score is the lowest of all regions, as the weakest box decides whether a person
    should look first; 0.0 where nothing was found. Boxes without area are left out.
    Choices of a list without ``perItem`` are one answer: that of the surest picture.
    Raises: UnknownName for a control the configuration does not have or cannot serve so.
    """
    regions: list[dict[str, Any]] = []
    taken: Counter[tuple[str, int]] = Counter()
    for part in _one_answer_each(spec, found):
        control = _control(spec, part)
        if isinstance(part, FoundNumber):
            if part.value is not None:
                new_id = region_id(region_id_seed, control.name, 0, 0)
                regions.append(_number_region(control, part.value, part.score, new_id))
            continue
        if isinstance(part, FoundTracks):
            for at, track in enumerate(part.tracks):
                new_id = region_id(region_id_seed, control.name, 0, at)
                regions += _track_regions(control, track, part.duration_s, new_id)
            continue
        place = (control.name, part.item_index or 0)
        if isinstance(part, FoundBoxes):
            for at in range(len(part.boxes)):
                new_id = region_id(region_id_seed, *place, taken[place] + at)
                regions += _box_regions(control, part, at, new_id)
            taken[place] += len(part.boxes)
        elif isinstance(part, FoundPoints):
            for at in range(len(part.points)):
                new_id = region_id(region_id_seed, *place, taken[place] + at)
                regions += _point_regions(control, part, at, new_id)
            taken[place] += len(part.points)
        elif part.choices:
            new_id = region_id(region_id_seed, *place, taken[place])
            regions.append(_choices_region(control, part, new_id))
            taken[place] += 1
    return {
        "result": regions,
        "score": min((region["score"] for region in regions), default=0.0),
        "model_version": model_version,
    }


def region_id(seed: str, control: str, item_index: int, index: int) -> str:
    """Ten characters of [A-Za-z0-9_-]: the same for the same place, different elsewhere."""
    place = json.dumps([seed, control, item_index, index]).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(place).digest())[:10].decode()


def _control(spec: LabelSpec, part: Found) -> Control:
    if isinstance(part, FoundBoxes):
        what, fitting = (
            "drawing control",
            [c for c in spec.active if c.draws and not c.of_video and not c.of_points],
        )
    elif isinstance(part, FoundPoints):
        what, fitting = "key-point control", [c for c in spec.active if c.of_points]
    elif isinstance(part, FoundTracks):
        what, fitting = "video control", list(spec.films)
    elif isinstance(part, FoundChoices):
        what, fitting = "Choices control", [c for c in spec.active if c.kind == "choices"]
    else:
        what, fitting = "Rating or Number", [c for c in spec.active if c.values is not None]
    of_name = {control.name: control for control in fitting}
    if part.control not in of_name:
        raise UnknownName(what, part.control, of_name)
    return of_name[part.control]


def _one_answer_each(spec: LabelSpec, found: Sequence[Found]) -> list[Found]:
    """The parts as they are, but one FoundChoices a control that takes a single answer."""
    kept: list[Found] = []
    position: dict[str, int] = {}
    for part in found:
        if not isinstance(part, FoundChoices) or _control(spec, part).per_item:
            kept.append(part)
        elif part.control not in position:
            position[part.control] = len(kept)
            kept.append(part)
        else:
            earlier = kept[position[part.control]]
            if isinstance(earlier, FoundChoices) and part.score > earlier.score:
                kept[position[part.control]] = part
    return kept


def _box_regions(control: Control, part: FoundBoxes, at: int, new_id: str) -> list[dict[str, Any]]:
    """One region, or two of the same id for the pair; none for a box without area."""
    boxes = part.boxes
    if control.shape is None:
        return []
    geometry = write_shape(
        control.shape,
        boxes.xyxy_px[at],
        boxes.size_hw,
        part.polygons_px[at] if part.polygons_px else None,
        part.masks_hw[at] if part.masks_hw else None,
    )
    if geometry is None:
        return []
    common = _common(new_id, control, part.item_index, boxes.size_hw, boxes.score[at])
    return _shaped(control, geometry, boxes.label[at], common)


def _point_regions(
    control: Control, part: FoundPoints, at: int, new_id: str
) -> list[dict[str, Any]]:
    """One region, or two of the same id for the pair."""
    points = part.points
    common = _common(new_id, control, part.item_index, points.size_hw, points.score[at])
    return _shaped(control, write_point(points.xy_px[at], points.size_hw), points.label[at], common)


def _common(
    new_id: str, control: Control, item_index: int | None, size_hw: tuple[int, int], score: Any
) -> dict[str, Any]:
    """What regions of all shapes have."""
    height, width = size_hw
    common: dict[str, Any] = {
        "id": new_id,
        "to_name": control.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": _score(score),
    }
    if control.is_list:
        common["item_index"] = item_index or 0
    return common


def _shaped(
    control: Control, geometry: dict[str, Any], label: str, common: dict[str, Any]
) -> list[dict[str, Any]]:
    """A shape with its label, in one region or two."""
    labels = [] if label == UNNAMED else [label]

    def region(from_name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        return {**common, "from_name": from_name, "type": kind, "value": value}

    if not control.paired:
        return [region(control.name, control.kind, {**geometry, control.kind: labels})]
    pair = [region(control.geometry_name, str(control.shape), dict(geometry))]
    if labels:
        pair.append(region(control.name, "labels", {**geometry, "labels": labels}))
    return pair


def _track_regions(
    control: Control, track: FoundTrack, duration_s: float, new_id: str
) -> list[dict[str, Any]]:
    """One region; none where nothing of the track falls on a frame of Label Studio's."""
    value = sequence_value(track.key_frames, control.framerate or FRAMERATE, duration_s)
    if value is None:
        return []
    labels = [] if track.label == UNNAMED else [track.label]
    return [
        {
            "id": new_id,
            "from_name": control.geometry_name,
            "to_name": control.to_name,
            "type": control.shape,
            "score": _score(track.score),
            "value": {**value, "labels": labels},
        }
    ]


def _choices_region(control: Control, part: FoundChoices, new_id: str) -> dict[str, Any]:
    region: dict[str, Any] = {
        "id": new_id,
        "from_name": control.name,
        "to_name": control.to_name,
        "type": "choices",
        "score": _score(part.score),
        "value": {"choices": list(part.choices)},
    }
    if control.per_item:
        region["item_index"] = part.item_index or 0
    return region


def _number_region(control: Control, value: float, score: float, new_id: str) -> dict[str, Any]:
    return {
        "id": new_id,
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.kind,
        "score": _score(score),
        "value": {control.kind: int(value) if value.is_integer() else value},
    }


def _score(value: Any) -> float:
    return round(min(max(float(value), 0.0), 1.0), _SCORE_DIGITS)

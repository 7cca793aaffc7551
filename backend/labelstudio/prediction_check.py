"""Our own rules for a prediction, stricter than Label Studio's.

A malformed prediction makes its task impossible to open, a bulk import drops bad ones
without a word, and much passes every check of Label Studio and then looks wrong in the
editor: see ``check_prediction``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from backend.labelstudio.labelspec import Control, LabelSpec
from backend.labelstudio.ranges import NumberRange

_PREDICTION_KEYS = {"result", "score", "model_version"}
_REGION_KEYS = {"id", "from_name", "to_name", "type", "score", "value"}
_PICTURE_KEYS = {"original_width", "original_height", "image_rotation"}
_ANSWERS = ("choices", "rating", "number")
_GEOMETRY_KEYS: Mapping[str, set[str]] = {
    "rectangle": {"x", "y", "width", "height", "rotation"},
    "ellipse": {"x", "y", "radiusX", "radiusY", "rotation"},
    "keypoint": {"x", "y", "width"},
    "polygon": {"points", "closed"},
    "brush": {"format", "rle"},
    "videorectangle": {"framesCount", "duration", "sequence"},
}
_FRAME_KEYS = {"frame", "time", "enabled", "rotation", "x", "y", "width", "height"}


def check_prediction(prediction: Any, spec: LabelSpec, data: Mapping[str, Any]) -> list[str]:
    """What is wrong with a prediction for a task with this data; empty if nothing is.

    Refuses what Label Studio drops on import (unknown names, labels, types, numbers beyond
    100, scores outside 0..1) and what it lets pass: negative or empty rectangles, those
    that leave the picture, numbers as text, missing ids or sizes, half a pair, an
    item_index beyond the task's pictures, two answers where one is asked for.
    """
    if not isinstance(prediction, Mapping):
        return ["a prediction is an object"]
    problems = list(_keys("prediction", prediction, _PREDICTION_KEYS))
    if not _in_unit(prediction.get("score")):
        problems.append("score is a number from 0 to 1")
    version = prediction.get("model_version")
    if not isinstance(version, str) or not version:
        problems.append("model_version is a text")
    result = prediction.get("result")
    if not isinstance(result, list):
        return [*problems, "result is a list of regions"]
    for at, region in enumerate(result):
        problems += [f"region {at}: {problem}" for problem in _region(region, spec, data)]
    if not problems:  # the rules between regions presuppose well-formed ones
        problems += _between(result)
    return problems


def _region(region: Any, spec: LabelSpec, data: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(region, Mapping):
        yield "a region is an object"
        return
    kinds = _kinds(spec)
    from_name = region.get("from_name")
    if not isinstance(from_name, str) or from_name not in kinds:
        yield f"from_name {from_name!r} is none of {sorted(kinds)}"
        return
    control, kind = kinds[from_name]
    wanted = set(_REGION_KEYS)
    if control.draws and not control.of_video:
        wanted |= _PICTURE_KEYS
    if control.per_item or (control.is_list and control.draws):
        wanted.add("item_index")
    yield from _keys("region", region, wanted)
    if region.get("to_name") != control.to_name:
        yield f"to_name {region.get('to_name')!r} is not {control.to_name!r}"
    if region.get("type") != kind:
        yield f"type {region.get('type')!r} is not {kind!r}"
    if not isinstance(region.get("id"), str) or not region["id"]:
        yield "id is a text"
    if not _in_unit(region.get("score")):
        yield "score is a number from 0 to 1"
    if "item_index" in wanted:
        yield from _item_index(region.get("item_index"), data.get(control.data_key))
    value = region.get("value")
    if not isinstance(value, Mapping):
        yield "value is an object"
        return
    label_key = None if kind == control.shape else kind
    if control.of_video:
        label_key = "labels"
    geometry = _GEOMETRY_KEYS[control.shape] if control.shape else set()
    yield from _keys("value", value, geometry | ({label_key} if label_key else set()))
    if control.shape:
        if not control.of_video:
            yield from _picture(region)
        yield from _SHAPES[control.shape](value)
    if control.values is not None:
        yield from _number(kind, value.get(kind), control.values)
    elif label_key:
        # A video's region does not tell by which of its Labels it was named.
        sharing = [c for c in spec.films if c.geometry_name == control.geometry_name] or [control]
        allowed = {label.value for one in sharing for label in spec.labels_for(one, data)}
        yield from _labels(label_key, value.get(label_key), allowed, control)


def _kinds(spec: LabelSpec) -> dict[str, tuple[Control, str]]:
    """For each from_name its control and the type of region it takes."""
    kinds: dict[str, tuple[Control, str]] = {}
    for control in spec.active:
        if control.of_video:
            kinds.setdefault(control.geometry_name, (control, str(control.shape)))
        elif control.paired:
            kinds.setdefault(control.geometry_name, (control, str(control.shape)))
            kinds[control.name] = (control, "labels")
        else:
            kinds[control.name] = (control, control.kind)
    return kinds


def _keys(what: str, given: Mapping[str, Any], wanted: set[str]) -> Iterator[str]:
    if missing := sorted(wanted - given.keys()):
        yield f"{what} lacks {', '.join(missing)}"
    if extra := sorted(str(key) for key in given.keys() - wanted):
        yield f"{what} has no business with {', '.join(extra)}"


def _item_index(index: Any, pictures: Any) -> Iterator[str]:
    count = len(pictures) if isinstance(pictures, list) else 1
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        yield f"item_index {index!r} is none of the task's {count} pictures"


def _picture(region: Mapping[str, Any]) -> Iterator[str]:
    for key in ("original_width", "original_height"):
        size = region.get(key)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            yield f"{key} is a whole number from 1"
    if not _is_number(region.get("image_rotation")) or region.get("image_rotation") != 0:
        yield "image_rotation is 0"


def _rectangle(value: Mapping[str, Any]) -> Iterator[str]:
    if not _is_number(value.get("rotation")) or value.get("rotation") != 0:
        yield "rotation is 0"
    for start_key, length_key in (("x", "width"), ("y", "height")):
        start, length = value.get(start_key), value.get(length_key)
        if not _is_number(start) or not _is_number(length):
            yield f"{start_key} and {length_key} are finite numbers"
        elif start < 0 or length <= 0 or start + length > 100:
            yield f"{start_key} {start} and {length_key} {length} leave the picture or are empty"


def _ellipse(value: Mapping[str, Any]) -> Iterator[str]:
    if not _is_number(value.get("rotation")):
        yield "rotation is a finite number"
    for centre_key, radius_key in (("x", "radiusX"), ("y", "radiusY")):
        centre, radius = value.get(centre_key), value.get(radius_key)
        if not _is_number(centre) or not _is_number(radius):
            yield f"{centre_key} and {radius_key} are finite numbers"
        elif not (0 <= centre <= 100 and 0 < radius <= 100):
            yield f"{centre_key} {centre} and {radius_key} {radius} leave the picture or are empty"


def _key_point(value: Mapping[str, Any]) -> Iterator[str]:
    for key in ("x", "y", "width"):
        if not _is_number(value.get(key)) or not 0 <= value[key] <= 100:
            yield f"{key} is a number from 0 to 100"


def _polygon(value: Mapping[str, Any]) -> Iterator[str]:
    points = value.get("points")
    if value.get("closed") is not True:
        yield "closed is true"
    if not isinstance(points, list) or len(points) < 3:
        yield "points are at least three"
    elif not all(
        isinstance(point, list)
        and len(point) == 2
        and all(_is_number(edge) and 0 <= edge <= 100 for edge in point)
        for point in points
    ):
        yield "points are pairs of numbers from 0 to 100"


def _brush(value: Mapping[str, Any]) -> Iterator[str]:
    rle = value.get("rle")
    if value.get("format") != "rle":
        yield "format is rle"
    if not isinstance(rle, list) or not all(type(one) is int and 0 <= one <= 255 for one in rle):
        yield "rle is a list of bytes"


def _sequence(value: Mapping[str, Any]) -> Iterator[str]:
    count, sequence = value.get("framesCount"), value.get("sequence")
    if type(count) is not int or count < 1:
        yield "framesCount is a whole number from 1"
        return
    if not _is_number(value.get("duration")) or value["duration"] < 0:
        yield "duration is a number of seconds"
    if not isinstance(sequence, list) or not sequence:
        yield "sequence has at least one key frame"
        return
    before = 0
    for at, entry in enumerate(sequence):
        if not isinstance(entry, Mapping):
            yield f"key frame {at} is an object"
            continue
        problems = [*_keys("it", entry, _FRAME_KEYS), *_rectangle(entry)]
        frame = entry.get("frame")
        if type(frame) is not int or not before < frame <= count:
            problems.append(f"frame {frame!r} is a whole number above {before} up to {count}")
        else:
            before = frame
        if not _is_number(entry.get("time")) or not isinstance(entry.get("enabled"), bool):
            problems.append("time is a number and enabled true or false")
        yield from (f"key frame {at}: {problem}" for problem in problems)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "keypoint": _key_point,
    "polygon": _polygon,
    "brush": _brush,
    "videorectangle": _sequence,
}
"""What is wrong with the geometry of a region of each shape."""


def _number(key: str, value: Any, allowed: NumberRange) -> Iterator[str]:
    if not _is_number(value):
        yield f"{key} is a finite number"
    elif not allowed.holds(value):
        yield f"{key} {value} is not from {allowed.low} to {allowed.high}"
    elif key == "rating" and not isinstance(value, int):
        yield f"{key} {value} is a whole number"


def _labels(key: str, labels: Any, allowed: set[str], control: Control) -> Iterator[str]:
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        yield f"{key} is a list of texts"
        return
    if unknown := sorted(set(labels) - allowed):
        yield f"{key} {unknown} are not labels of control {control.name!r}"
    if len(set(labels)) < len(labels):
        yield f"{key} names a label twice"
    # Only a region that has a shape as well can be left for the annotator to name:
    # elsewhere the region with the empty list would carry nothing at all.
    if not labels and (control.paired or not control.draws):
        yield f"{key} is empty"
    if len(labels) > 1 and not control.multiple:
        yield f"{key} takes one label"


def _between(result: list[Mapping[str, Any]]) -> Iterator[str]:
    ids = Counter((region["id"], region["type"]) for region in result)
    yield from (f"id {i!r} is used twice for {kind}" for (i, kind), n in ids.items() if n > 1)
    kinds_of: dict[str, set[str]] = {}
    for region in result:
        kinds_of.setdefault(region["id"], set()).add(region["type"])
    for shared, kinds in kinds_of.items():
        if len(kinds) > 1 and not (len(kinds) == 2 and "labels" in kinds):
            yield f"id {shared!r} is shared by {', '.join(sorted(kinds))}"

    shapes = {region["id"]: region for region in result if region["type"] in _GEOMETRY_KEYS}
    answers: Counter[tuple[str, int]] = Counter()
    for region in result:
        if region["type"] == "labels":
            shape = shapes.get(region["id"])
            if shape is None or any(
                shape["value"][key] != region["value"].get(key)
                for key in _GEOMETRY_KEYS[shape["type"]]
            ):
                yield f"labels {region['id']!r} have no shape of the same id and place"
        elif region["type"] in _ANSWERS:
            answers[(region["from_name"], region.get("item_index", 0))] += 1
    yield from (f"{name!r} is answered twice" for (name, _), n in answers.items() if n > 1)


def _is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not isinstance(value, float) or math.isfinite(value)


def _in_unit(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1

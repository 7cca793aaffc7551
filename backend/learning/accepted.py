"""Ledger entries read by a labelling configuration: what each task teaches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from backend.domain import UNNAMED
from backend.labelstudio.labelspec import Control, LabelSpec
from backend.labelstudio.ranges import as_number
from backend.labelstudio.regions import ReadRegion, read_regions
from backend.labelstudio.tracks import ReadTrack, read_tracks
from backend.learning.ledger import Entry
from backend.learning.reconcile import Choices, Numbers, Voice, reconcile

_ANSWERS = ("choices", "rating", "number")
"""Types of what is said of a whole picture."""


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """What is accepted of one task.

    boxes, rejected: in pixels, with labels that the configuration has; on frames of a video
    as ``Agreed`` says. choices: by control
    and picture. legible: False where something drawn cannot be read, so that what looks
    empty may not be. numbers: values of ratings and numbers by control.
    """

    task_id: int
    data: Mapping[str, Any]
    boxes: tuple[ReadRegion, ...]
    rejected: tuple[ReadRegion, ...]
    choices: Choices
    legible: bool
    numbers: Numbers = field(default_factory=dict)


def accepted_tasks(entries: Iterable[Entry], spec: LabelSpec) -> list[AcceptedTask]:
    """What each task with an annotation that was not skipped teaches, by ascending id.

    A label that the configuration no longer has is left out, not forgotten: what it named
    counts again once the label is back. A label is what Label Studio stores of it (its
    alias where it has one), so a renamed one is another label until its annotations carry
    the new name.
    """
    of_task: dict[int, list[Entry]] = {}
    for entry in entries:
        if not entry.skipped:
            of_task.setdefault(entry.task_id, []).append(entry)
    return [_accepted(task_id, group, spec) for task_id, group in sorted(of_task.items())]


def boxes_digest(boxes: Iterable[ReadRegion]) -> str:
    """Changes when, and only when, what is accepted on a picture does."""
    said = sorted([box.label, *(round(edge, 2) for edge in box.xyxy_px)] for box in boxes)
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


def accepted_digest(
    boxes: Iterable[ReadRegion],
    choices: Mapping[str, tuple[str, ...]],
    numbers: Numbers = MappingProxyType({}),
) -> str:
    """As ``boxes_digest``, of the boxes and the answers by control together."""
    drawn = boxes_digest(boxes)
    if not choices and not numbers:
        return drawn
    told: list[Any] = [drawn, {name: sorted(taken) for name, taken in sorted(choices.items())}]
    said = json.dumps([*told, dict(sorted(numbers.items()))] if numbers else told)
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def _accepted(task_id: int, entries: Sequence[Entry], spec: LabelSpec) -> AcceptedTask:
    data = entries[0].data
    known = {
        control.name: {label.value for label in spec.labels_for(control, data)}
        for control in spec.active
    }
    agreed = reconcile(_voice(entry, spec) for entry in entries)
    return AcceptedTask(
        task_id,
        data,
        tuple(box for box in agreed.boxes if box.label in known.get(box.control, ())),
        tuple(box for box in agreed.rejected if box.control in known),
        {
            (control, index): kept
            for (control, index), names in agreed.choices.items()
            if (kept := tuple(name for name in names if name in known.get(control, ())))
        },
        all(_legible(entry, spec) for entry in entries)
        and all(box.label != UNNAMED for box in agreed.boxes),
        agreed.numbers,
    )


def _voice(entry: Entry, spec: LabelSpec) -> Voice:
    boxes = tuple(read_regions(list(entry.result), spec))
    tracks = tuple(read_tracks(list(entry.result), spec))
    deleted: tuple[ReadRegion, ...] = ()
    deleted_tracks: tuple[ReadTrack, ...] = ()
    # A prediction that was only looked at says nothing about its boxes; one that the
    # annotation was made from does.
    if entry.shown is not None and entry.shown.prediction_id == entry.parent:
        kept = {box.id for box in boxes}
        shown = read_regions(list(entry.shown.result), spec)
        deleted = tuple(box for box in shown if box.id not in kept)
        kept_tracks = {track.id for track in tracks}
        shown_tracks = read_tracks(list(entry.shown.result), spec)
        deleted_tracks = tuple(one for one in shown_tracks if one.id not in kept_tracks)
    order = (entry.updated_us, entry.annotation_id)
    choices, numbers = _choices(entry.result, spec), _numbers(entry.result, spec)
    return Voice(
        order,
        entry.annotator,
        entry.ground_truth,
        boxes,
        deleted,
        choices,
        numbers,
        tracks,
        deleted_tracks,
    )


def _choices(result: Iterable[Mapping[str, Any]], spec: LabelSpec) -> Choices:
    controls: dict[str, Control] = {c.name: c for c in spec.active if c.kind == "choices"}
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for region in result:
        control = controls.get(str(region.get("from_name")))
        names = region["value"].get("choices")
        if control is None or not isinstance(names, list):
            continue
        index = region.get("item_index")
        picture = index if control.per_item and isinstance(index, int) else 0
        found[control.name, picture] = tuple(name for name in names if isinstance(name, str))
    return found


def _numbers(result: Iterable[Mapping[str, Any]], spec: LabelSpec) -> dict[str, float]:
    """Values that their controls take; what lies outside is left out, as is a cleared rating."""
    controls = {c.name: c for c in spec.active}
    found: dict[str, float] = {}
    for region in result:
        control = controls.get(str(region.get("from_name")))
        if control is None or control.values is None or region.get("type") != control.kind:
            continue
        value = as_number(region["value"].get(control.kind))
        if value is not None and control.values.holds(value):
            found[control.name] = value
    return found


def _legible(entry: Entry, spec: LabelSpec) -> bool:
    """Whether every rectangle of the configuration's controls can be read."""
    places = {name for c in spec.active for name in (c.name, c.geometry_name)}
    rectangles = [
        region
        for region in entry.result
        if str(region.get("from_name")) in places and region.get("type") not in _ANSWERS
    ]
    return entry.whole and not any(region.get("image_rotation") for region in rectangles)

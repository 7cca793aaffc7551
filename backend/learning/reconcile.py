"""What a task's annotators agree on.

One rule, pure: the newest ground truth has the only say. Without one, each annotator's
newest annotation is a voice, and what more than half of the voices have is accepted:
boxes of the same control, picture and label whose intersection over union is at least
0.5, at their mean corners; key points that are near to each other (``nearness.NEAR``), at
their mean; choices by name; of numbers, where more than half gave one, the
median. With one voice all of it is accepted, with two
what both have. A voice without boxes is a voice all the same.

A track speaks on the frames that somebody has set: the key frames of all voices. There each
voice's box counts, drawn or in between, by the same rule; on its own key frames alone what
was deleted is rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import median

import numpy as np

from backend.domain import FloatArray
from backend.labelstudio.regions import ReadRegion
from backend.labelstudio.tracks import ReadTrack
from backend.learning.nearness import likeness

FRAME_HW = (10_000, 10_000)
"""Size at which boxes on frames are told: a track does not tell the video's."""

SAME_IOU = 0.5
"""Likeness from which boxes of two annotators, or a deleted one and a drawn one, are the same."""

Choices = Mapping[tuple[str, int], tuple[str, ...]]
"""Choices taken, by control and picture."""

Numbers = Mapping[str, float]
"""Values given, by control."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One annotation. order: greater for a newer one. annotator: None where unknown.

    deleted: predicted boxes that the annotator removed. tracks, deleted_tracks: the same
    through a video.
    """

    order: tuple[int, int]
    annotator: int | None
    ground_truth: bool
    boxes: tuple[ReadRegion, ...]
    deleted: tuple[ReadRegion, ...] = ()
    choices: Choices = field(default_factory=dict)
    numbers: Numbers = field(default_factory=dict)
    tracks: tuple[ReadTrack, ...] = ()
    deleted_tracks: tuple[ReadTrack, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is accepted of a task. rejected: predicted boxes that somebody deleted.

    Boxes on frames of a video have Label Studio's frame number as item_index and FRAME_HW as
    size_hw.
    """

    boxes: tuple[ReadRegion, ...]
    rejected: tuple[ReadRegion, ...]
    choices: Choices
    numbers: Numbers = field(default_factory=dict)


def reconcile(voices: Iterable[Voice]) -> Agreed:
    """What is accepted; the order of the voices changes nothing."""
    heard = _on_frames(_heard(voices))
    boxes = _boxes(heard)
    return Agreed(boxes, _rejected(heard, boxes), _choices(heard), _numbers(heard))


def _heard(voices: Iterable[Voice]) -> list[Voice]:
    """The voices that count, oldest first."""
    ordered = sorted(voices, key=lambda voice: voice.order)
    if truths := [voice for voice in ordered if voice.ground_truth]:
        return truths[-1:]
    newest: dict[Hashable, Voice] = {}
    for voice in ordered:
        # Who is unknown may be anybody: each such annotation is somebody's.
        key: Hashable = voice.annotator if voice.annotator is not None else voice.order
        newest[key] = voice
    return sorted(newest.values(), key=lambda voice: voice.order)


def _on_frames(heard: Sequence[Voice]) -> list[Voice]:
    """The voices with their tracks as boxes, on the frames that anybody set."""
    frames: dict[str, set[int]] = {}
    for voice in heard:
        for track in (*voice.tracks, *voice.deleted_tracks):
            frames.setdefault(track.control, set()).update(track.frames)
    return [
        replace(
            voice,
            boxes=(
                *voice.boxes,
                *(box for one in voice.tracks for box in _drawn(one, frames[one.control])),
            ),
            deleted=(
                *voice.deleted,
                *(box for one in voice.deleted_tracks for box in _drawn(one, one.frames)),
            ),
        )
        for voice in heard
    ]


def _drawn(track: ReadTrack, frames: Iterable[int]) -> Iterable[ReadRegion]:
    height, width = FRAME_HW
    for frame in sorted(frames):
        edges = track.drawn_at(frame)
        if edges is not None:
            x0, y0, x1, y1 = edges
            xyxy_px = (x0 * width, y0 * height, x1 * width, y1 * height)
            told = (track.label, track.score, track.origin)
            yield ReadRegion(track.id, track.control, frame, xyxy_px, FRAME_HW, *told)


def _boxes(heard: Sequence[Voice]) -> tuple[ReadRegion, ...]:
    if len(heard) <= 1:
        return tuple(box for voice in heard for box in voice.boxes)
    kinds = {_kind(box): None for voice in heard for box in voice.boxes}
    agreed: list[ReadRegion] = []
    for kind in sorted(kinds):
        own = [
            (number, box)
            for number, voice in enumerate(heard)
            for box in voice.boxes
            if _kind(box) == kind
        ]
        for group in _groups(own):
            if 2 * len(group) > len(heard):
                agreed.append(_mean([own[index][1] for index in group]))
    return tuple(agreed)


def _kind(box: ReadRegion) -> tuple[str, int, str]:
    return box.control, box.item_index, box.label


def _groups(boxes: Sequence[tuple[int, ReadRegion]]) -> list[list[int]]:
    """Boxes that are one thing, at most one of each voice; best overlaps are joined first.

    A group grows only where every member overlaps every other one.
    """
    own = [box for _, box in boxes]
    iou = _likeness(own, own)
    pairs = [
        (-float(iou[i, j]), i, j)
        for i, j in combinations(range(len(boxes)), 2)
        if boxes[i][0] != boxes[j][0] and iou[i, j] >= SAME_IOU
    ]
    group_of = {index: [index] for index in range(len(boxes))}
    for _, i, j in sorted(pairs):
        first, second = group_of[i], group_of[j]
        if first is second:
            continue
        voices = [boxes[index][0] for index in (*first, *second)]
        if len(set(voices)) < len(voices) or iou[np.ix_(first, second)].min() < SAME_IOU:
            continue
        joined = sorted(first + second)
        for index in joined:
            group_of[index] = joined
    unique = {tuple(group): group for group in group_of.values()}
    return list(unique.values())


def _mean(boxes: Sequence[ReadRegion]) -> ReadRegion:
    """The newest voice's box, at the mean corners; untouched only where all left it so."""
    x0, y0, x1, y1 = (float(edge) for edge in _corners(boxes).astype(np.float64).mean(0))
    origins = {box.origin for box in boxes}
    return replace(
        boxes[-1],
        xyxy_px=(x0, y0, x1, y1),
        origin=origins.pop() if len(origins) == 1 else "prediction-changed",
    )


def _rejected(heard: Sequence[Voice], accepted: Sequence[ReadRegion]) -> tuple[ReadRegion, ...]:
    """Deleted boxes that nothing accepted has taken the place of, each once."""
    found: dict[tuple[str, int, str, str], ReadRegion] = {}
    for voice in heard:
        for box in voice.deleted:
            same = [other for other in accepted if _kind(other) == _kind(box)]
            if not same or _likeness([box], same).max() < SAME_IOU:
                found[(*_kind(box), box.id)] = box
    return tuple(found[key] for key in sorted(found))


def _choices(heard: Sequence[Voice]) -> dict[tuple[str, int], tuple[str, ...]]:
    places = sorted({place for voice in heard for place in voice.choices})
    agreed = {}
    for place in places:
        votes = Counter(name for voice in heard for name in set(voice.choices.get(place, ())))
        taken = tuple(sorted(name for name, count in votes.items() if 2 * count > len(heard)))
        if taken:
            agreed[place] = taken
    return agreed


def _numbers(heard: Sequence[Voice]) -> dict[str, float]:
    given = {name: [v.numbers[name] for v in heard if name in v.numbers] for name in _named(heard)}
    return {name: median(values) for name, values in given.items() if 2 * len(values) > len(heard)}


def _named(heard: Sequence[Voice]) -> list[str]:
    return sorted({name for voice in heard for name in voice.numbers})


def _likeness(first: Sequence[ReadRegion], second: Sequence[ReadRegion]) -> FloatArray:
    return likeness(_corners(first), _corners(second), first[0].size_hw)


def _corners(boxes: Sequence[ReadRegion]) -> FloatArray:
    return np.array([box.xyxy_px for box in boxes], np.float32).reshape(-1, 4)

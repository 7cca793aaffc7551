"""What the controls of tasks get from pictures that were looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain import UNNAMED, Boxes, Picture, Points, concat_boxes, concat_points, iou_matrix
from backend.jobs.addresses import Look
from backend.jobs.learner import Learner, TrainedHead
from backend.jobs.sight import method_of
from backend.labelstudio.labelspec import Control, LabelName
from backend.labelstudio.prediction import (
    Found,
    FoundBoxes,
    FoundChoices,
    FoundNumber,
    FoundPoints,
    FoundTracks,
)
from backend.learning.choices import Opinion
from backend.learning.regression import Estimate
from backend.settings import Settings
from backend.vision.detect import DetectOptions, LabelQuery, classify
from backend.vision.evidence import SEEN
from backend.vision.look import Looked
from backend.vision.objects import Sight, find, rename
from backend.vision.point_out import point_out

RIVAL = 0.5
"""With several choices allowed, those of at least this share of the best one's probability
are taken: a softmax divides one probability among all that a picture shows."""


DISPLACED_IOU = 0.5
"""Overlap with a learned box from which a zero-shot box of another label is not believed."""


@dataclass(frozen=True, slots=True)
class LearnedAnswers:
    """What a trained head found. labels, controls: those it knows. few: see TrainedHead.

    boxes: of each picture, by position. opinions: of each picture by control of choices;
    numbers: by Rating or Number. points: of each picture; point_labels: those that it knows.
    """

    labels: frozenset[str]
    few: bool
    controls: frozenset[str]
    boxes: Sequence[Boxes]
    opinions: Sequence[Mapping[str, Opinion]]
    numbers: Sequence[Mapping[str, Estimate]]
    point_labels: frozenset[str] = frozenset()
    points: Sequence[Points] = ()


def learned_answers(learner: Learner, head: TrainedHead, features: Sequence[Any]) -> LearnedAnswers:
    """What a head finds on pictures, by what it reads of them."""
    return LearnedAnswers(
        frozenset(head.labels),
        head.few,
        frozenset(head.controls),
        learner.predict(head, features),
        learner.predict_choices(head, features),
        learner.predict_numbers(head, features),
        frozenset(head.point_labels),
        learner.predict_points(head, features),
    )


def needs_look(asked: Sequence[tuple[Look, int]], learned: LearnedAnswers | None) -> bool:
    """Whether the zero-shot way has a say in any of these: a head knows not all of them.

    learned: None without a head.
    """
    return any(
        learned is None
        or (
            one.control.name not in learned.controls
            if one.control.kind == "choices"
            else not _values(one) or bool(_values(one) - _known_labels(one, learned))
        )
        for one, _ in asked
        if one.control.values is None  # a value is learned or has no answer
    )


def answer_looks(
    sight: Sight | None,
    pictures: Sequence[Picture],
    asked: Sequence[tuple[Look, int]],
    settings: Settings,
    learned: LearnedAnswers | None = None,
) -> list[Found]:
    """The answer to each look, in order.

    sight: may be None where ``needs_look`` says so. asked: a look with the position of its
    picture among those looked at. Looks of one control with the same labels are answered
    together, and each picture once for them. Labels and controls of choices that the head
    knows are left to it.
    Raises: as detect.
    """
    groups: dict[tuple[str, tuple[LabelName, ...]], list[int]] = {}
    for number, (one, _) in enumerate(asked):
        groups.setdefault((one.control.name, one.labels), []).append(number)
    answers: dict[int, Found] = {}
    for numbers in groups.values():
        rows = list(dict.fromkeys(asked[number][1] for number in numbers))
        one = asked[numbers[0]][0]
        found = _answers(sight, pictures, rows, one, settings, learned)
        of_row = dict(zip(rows, found, strict=True))
        for number in numbers:
            item_index = asked[number][0].item_index
            answers[number] = _placed(of_row[asked[number][1]], item_index)
    return [answers[number] for number in range(len(asked))]


def detect_options(control: Control, settings: Settings) -> DetectOptions:
    """The control's own options, the settings where it has none."""
    options = control.options
    threshold, most = options.score_threshold, options.max_boxes
    return DetectOptions(
        saliency=method_of(options),
        box_rule=options.box_rule,
        score_threshold=settings.score_threshold if threshold is None else threshold,
        max_boxes=settings.max_boxes if most is None else most,
        extra=options.extra,
    )


def choose(
    probability: Mapping[str, float], *, multiple: bool, score_threshold: float
) -> tuple[tuple[str, ...], float]:
    """The choices to take, best first, with the probability of the least sure of them.

    Nothing where no choice reaches score_threshold, or where the network sees none of
    them: together they stay below SEEN.
    """
    if math.fsum(probability.values()) < SEEN:
        return (), 0.0
    ranked = sorted(probability.items(), key=lambda item: (-item[1], item[0]))
    taken = [(name, p) for name, p in ranked if p >= score_threshold]
    taken = [(name, p) for name, p in taken if p >= RIVAL * taken[0][1]] if multiple else taken[:1]
    score = min((p for _, p in taken), default=0.0)
    return tuple(name for name, _ in taken), min(max(float(score), 0.0), 1.0)


def _answers(
    sight: Sight | None,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    one: Look,
    settings: Settings,
    learned: LearnedAnswers | None,
) -> list[Found]:
    options = detect_options(one.control, settings)
    name = one.control.name
    if one.control.values is not None:
        return [_number(one.control, row, options, learned) for row in rows]
    if learned is not None and name in learned.controls:
        taken = [
            learned.opinions[row][name].take(_values(one), options.score_threshold) for row in rows
        ]
        return [FoundChoices(name, None, choices, score) for choices, score in taken]
    queries = [LabelQuery(label.value, label.names) for label in one.labels]
    if one.control.of_points:
        told = _points(sight, pictures, rows, queries, options, learned)
        return [FoundPoints(name, None, points) for points in told]
    known = _values(one) & (learned.labels if learned is not None else frozenset())
    zero_shot: list[Boxes] = [Boxes.empty(pictures[row].size_hw) for row in rows]
    if sight is not None:
        chosen = sight.select(rows)
        if one.control.kind == "choices":
            decided = [
                choose(p, multiple=one.control.multiple, score_threshold=options.score_threshold)
                for p in classify(chosen.looked, queries)
            ]
            return [FoundChoices(name, None, choices, score) for choices, score in decided]
        if not known or _values(one) - known:
            # All labels are asked for, so that none is left by elimination that a head has.
            zero_shot = find(chosen, [pictures[row] for row in rows], queries, options)
    if learned is not None and known:
        own = [learned.boxes[row] for row in rows]
        evidence = sight.select(rows).evidence if sight is not None else None
        zero_shot = [
            boxes.best(options.max_boxes, options.score_threshold)
            for boxes in joined(own, zero_shot, evidence, queries, known, few=learned.few)
        ]
    return [FoundBoxes(name, None, boxes) for boxes in zero_shot]


def _points(
    sight: Sight | None,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    labels: Sequence[LabelQuery],
    options: DetectOptions,
    learned: LearnedAnswers | None,
) -> list[Points]:
    """A head's key points of each picture, then what the network says of other labels."""
    known = learned.point_labels if learned is not None else frozenset()
    values = {label.value for label in labels}
    others = [label for label in labels if label.value not in known]
    beside = [Points.empty(pictures[row].size_hw) for row in rows]
    if sight is not None and others:
        looked = sight.select(rows).looked
        beside = point_out(looked, [pictures[row] for row in rows], others, options)
    told = []
    for row, more in zip(rows, beside, strict=True):
        own = learned.points[row] if known and learned is not None else more.select(())
        own = own.select(i for i, label in enumerate(own.label) if label in values)
        both = concat_points([own, more], more.size_hw)
        told.append(both.best(options.max_boxes, options.score_threshold))
    return told


def joined(
    learned: Sequence[Boxes],
    zero_shot: Sequence[Boxes],
    evidence: Looked | None,
    labels: Sequence[LabelQuery],
    known: frozenset[str],
    *,
    few: bool,
) -> list[Boxes]:
    """A head's boxes of each picture, with what the zero-shot way says of other labels.

    known: the labels that the head knows; its other boxes are left out. labels: all that
    are asked for. few: of the head. evidence: whose cells tell whether a box of the head
    shows another label, see ``rename``; None keeps the names. Zero-shot boxes of other
    labels come along, but those without a name and those on the place of one of the head's.
    """
    rest = any(label.value not in known for label in labels)
    whole = []
    for row, (found, other) in enumerate(zip(learned, zero_shot, strict=True)):
        own = found.select(i for i, label in enumerate(found.label) if label in known)
        if rest and evidence is not None:
            own = rename(evidence, row, own, labels, known, few=few)
        overlap = iou_matrix(other.xyxy_px, own.xyxy_px)
        beside = other.select(
            i
            for i, label in enumerate(other.label)
            if label != UNNAMED and label not in known and not (overlap[i] >= DISPLACED_IOU).any()
        )
        whole.append(concat_boxes([own, beside], other.size_hw))
    return whole


def _number(
    control: Control, row: int, options: DetectOptions, learned: LearnedAnswers | None
) -> FoundNumber:
    if learned is None or control.name not in learned.controls:
        return FoundNumber(control.name, None, 0.0)
    value, score = learned.numbers[row][control.name].take(control.values)
    return FoundNumber(control.name, value if score >= options.score_threshold else None, score)


def _known_labels(one: Look, learned: LearnedAnswers) -> frozenset[str]:
    return learned.point_labels if one.control.of_points else learned.labels


def _values(one: Look) -> frozenset[str]:
    return frozenset(label.value for label in one.labels)


def _placed(found: Found, item_index: int | None) -> Found:
    if isinstance(found, FoundNumber | FoundTracks):
        return found
    if isinstance(found, FoundBoxes):
        return FoundBoxes(found.control, item_index, found.boxes)
    if isinstance(found, FoundPoints):
        return FoundPoints(found.control, item_index, found.points)
    return FoundChoices(found.control, item_index, found.choices, found.score)

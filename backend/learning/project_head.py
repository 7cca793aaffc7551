"""A project's head: all that its accepted boxes and answers have taught, in one file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backend.domain import BackboneIdentity, Boxes, Points
from backend.errors import ConfigError
from backend.labelstudio.ranges import NumberRange
from backend.learning.choices import (
    ChoiceHead,
    Lines,
    Opinion,
    Question,
    Scale,
    answered,
    fit_choices,
)
from backend.learning.choices import learnable as learnable_choices
from backend.learning.examples import Example
from backend.learning.features import PictureFeatures
from backend.learning.fit import fit
from backend.learning.fit_key_points import fit_key_points, point_labels
from backend.learning.forms import Form, fit_forms
from backend.learning.grids import FeaturePair
from backend.learning.head import Head
from backend.learning.head import predict as predict_boxes
from backend.learning.key_points import PointHead
from backend.learning.promote import Counts, point_answer
from backend.learning.regression import (
    Estimate,
    Line,
    Measure,
    NumberHead,
    fit_numbers,
    measured,
)
from backend.learning.tensors import Tensors, metadata_of, pack, unpack
from backend.learning.trainer import FEW, Progress

SCHEMA = 1
_PART, _NUMBERS, _FORMS, _POINTS = "choices", "numbers", "forms", "points"
_METRICS = ("f1_50", "f1_70", "mean_iou", "no_edit", "ece", "fit_s")


Asked = Question | Measure
"""What a control asks of a whole picture."""


@dataclass(frozen=True, slots=True)
class ProjectHead:
    """boxes: None where no box was accepted. choices: one head a control that was learned.

    small: which kind of features it reads. numbers: one head a Rating or Number. forms: of
    the labels whose accepted shapes taught more than every picture tells. points: None where
    no key point was accepted.
    """

    boxes: Head | None
    choices: tuple[ChoiceHead, ...]
    small: bool
    numbers: tuple[NumberHead, ...] = ()
    forms: tuple[Form, ...] = ()
    points: PointHead | None = None

    @property
    def point_labels(self) -> tuple[str, ...]:
        """The labels of key points that it tells."""
        return self.points.labels if self.points is not None else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of boxes that it knows."""
        return self.boxes.labels if self.boxes is not None else ()

    @property
    def few(self) -> bool:
        """Whether its boxes were learned from fewer pictures than stand alone."""
        return self.boxes is not None and len(self.boxes.meta.pictures) < FEW

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls of whole pictures that it answers."""
        choices = (one.question.control for one in self.choices)
        return (*choices, *(one.measure.control for one in self.numbers))

    def form(self, label: str) -> Form | None:
        """What was learned of the insides of a label's boxes."""
        return next((one for one in self.forms if one.label == label), None)

    def without(self, controls: Collection[str]) -> ProjectHead:
        """The same, leaving these controls of whole pictures alone, and key points by answer."""
        left = [label for label in self.point_labels if point_answer(label) in controls]
        return replace(
            self,
            points=self.points.without(left) if self.points is not None else None,
            choices=tuple(one for one in self.choices if one.question.control not in controls),
            numbers=tuple(one for one in self.numbers if one.measure.control not in controls),
        )

    def to_bytes(self) -> bytes:
        """As safetensors; without answers the bytes of the head for boxes alone."""
        if self.boxes is None:
            arrays: Tensors = {}
            record: dict[str, Any] = {}
        else:
            whole = self.boxes.to_bytes()
            if not self.controls and not self.forms and self.points is None:
                return whole
            arrays, record = load(whole), json.loads(metadata_of(whole)["head"])
        for i, one in enumerate(self.choices):
            arrays |= pack(f"{_PART}/{i}/lines", one.lines) | pack(f"{_PART}/{i}/scale", one.scale)
        heads = [
            {
                "control": one.question.control,
                "multiple": one.question.multiple,
                "choices": one.choices,
                "accuracy": one.accuracy,
            }
            for one in self.choices
        ]
        record[_PART] = {"schema": SCHEMA, "small": self.small, "heads": heads}
        for i, number in enumerate(self.numbers):
            arrays |= pack(f"{_NUMBERS}/{i}/line", number.line)
            arrays[f"{_NUMBERS}/{i}/misses"] = number.misses
        record[_NUMBERS] = [asdict(one.measure) for one in self.numbers]
        for i, form in enumerate(self.forms):
            arrays[f"{_FORMS}/{i}/weights"] = form.weights
        record[_FORMS] = [one.label for one in self.forms]
        if self.points is not None:
            tensors, record[_POINTS] = self.points.to_tensors(_POINTS)
            arrays |= tensors
        ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
        return bytes(save(ordered, {"head": json.dumps(record)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> ProjectHead:
        """Raises: ConfigError where the bytes are no head of this schema."""
        try:
            arrays, record = load(data), json.loads(metadata_of(data)["head"])
            told = record.get(_PART)
            choices = _read_choices(told, arrays) if told is not None else ()
            small = bool(told["small"]) if told is not None else False
            numbers = _read_numbers(record.get(_NUMBERS, ()), arrays)
            forms = tuple(
                Form(str(label), arrays[f"{_FORMS}/{i}/weights"])
                for i, label in enumerate(record.get(_FORMS, ()))
            )
            points = None
            if _POINTS in record:
                points = PointHead.from_tensors(_POINTS, arrays, record[_POINTS])
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"This is not a head: {error}.", "Import a file that `heads export` wrote."
            ) from error
        boxes = Head.from_bytes(data) if "labels" in record or told is None else None
        return cls(
            boxes, choices, boxes.small if boxes is not None else small, numbers, forms, points
        )


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """What a head is worth out of fold: metrics by name, counts by picture."""

    metrics: Mapping[str, float]
    per_picture: Mapping[str, Counts]


def learnable(asked: Sequence[Asked], examples: Sequence[Example]) -> tuple[Asked, ...]:
    """What was answered in two different ways."""
    choices = learnable_choices([one for one in asked if isinstance(one, Question)], examples)
    numbers = [one for one in asked if isinstance(one, Measure)]
    return (*choices, *(one for one in numbers if measured(one, examples) is not None))


def fit_project(
    examples: Sequence[Example],
    features: Mapping[str, FeaturePair],
    labels: Sequence[str],
    questions: Sequence[Asked],
    backbone: BackboneIdentity,
    *,
    progress: Progress = lambda share: None,
) -> tuple[ProjectHead, ProjectReport]:
    """A head from accepted pictures, and what it is worth.

    Arguments as ``fit``; questions: those that may be learned. A Rating or Number that
    is not learned better than its mean is left out, its metrics stay. Raises: RequestError
    where neither a box nor a key point nor two different answers were accepted.
    """
    used = [example for example in examples if example.picture in features]
    drawn = [example for example in used if example.drawn_on]
    chosen = [one for one in questions if isinstance(one, Question)]
    known = [one for one in (answered(question, used) for question in chosen) if one]
    measures = [one for one in questions if isinstance(one, Measure)]
    valued = [one for one in (measured(measure, used) for measure in measures) if one]
    boxes: Head | None = None
    metrics: dict[str, float] = {}
    counts: dict[str, Counts] = {}
    pointed = [example for example in used if example.pointed_on]
    parts = point_labels(pointed)
    if not (known or valued or parts) or any(
        name in labels for one in drawn for name in one.boxes.label
    ):
        boxes, report = fit(drawn, features, labels, backbone, progress=progress)
        metrics = {name: float(getattr(report, name)) for name in _METRICS}
        counts = dict(report.per_picture)
    asked = used if known or valued else ()
    pooled = {example.picture: features[example.picture][0].pooled for example in asked}

    def add_answers(control: str, right: Mapping[str, bool]) -> None:
        for picture, was_right in right.items():
            before = counts.get(picture, Counts())
            counts[picture] = replace(before, answers={**before.answers, control: was_right})

    choices = []
    for one in known:
        choice_head, right = fit_choices(one, pooled)
        choices.append(choice_head)
        metrics[f"accuracy_{one.question.control}"] = choice_head.accuracy
        add_answers(one.question.control, right)
    numbers = []
    for values in valued:
        fitted, control = fit_numbers(values, pooled), values.measure.control
        metrics[f"error_{control}"] = fitted.error
        metrics[f"error_of_mean_{control}"] = fitted.error_of_mean
        if fitted.head is None:
            continue
        numbers.append(fitted.head)
        add_answers(control, fitted.right)
    forms = []
    for learned in fit_forms(drawn, features, boxes.labels if boxes is not None else ()):
        metrics[f"mask_iou_{learned.label}"] = learned.iou
        metrics[f"mask_iou_unlearned_{learned.label}"] = learned.unlearned_iou
        if learned.form is not None:
            forms.append(learned.form)
    points = None
    if parts:
        told = fit_key_points(pointed, features, backbone)
        points = told.head
        if told.right:
            metrics |= {"pck": told.pck, "pck_of_mean": told.pck_of_mean}
        for label in parts:
            right = {picture: of_label[label] for picture, of_label in told.right.items()}
            add_answers(point_answer(label), right)
    progress(1.0)
    small = boxes.small if boxes is not None else False
    head = ProjectHead(boxes, tuple(choices), small, tuple(numbers), tuple(forms), points)
    return head, ProjectReport(metrics, counts)


def predict(head: ProjectHead, features: Sequence[PictureFeatures]) -> list[Boxes]:
    """Boxes of each picture, best first; none where the head knows no label."""
    if head.boxes is None:
        return [Boxes.empty(picture.size_hw) for picture in features]
    return predict_boxes(head.boxes, features)


def predict_points(head: ProjectHead, features: Sequence[PictureFeatures]) -> list[Points]:
    """Key points of each picture; none where the head knows no label of such."""
    if head.points is None:
        return [Points.empty(picture.size_hw) for picture in features]
    return [head.points(picture) for picture in features]


def predict_choices(
    head: ProjectHead, features: Sequence[PictureFeatures]
) -> list[dict[str, Opinion]]:
    """Opinions on each picture by control, of the controls that the head knows."""
    pooled = [picture.pooled for picture in features]
    of_control = {one.question.control: one(pooled) for one in head.choices}
    return [
        {control: opinions[at] for control, opinions in of_control.items()}
        for at in range(len(features))
    ]


def predict_numbers(
    head: ProjectHead, features: Sequence[PictureFeatures]
) -> list[dict[str, Estimate]]:
    """Estimates for each picture by control, of the controls that the head knows."""
    pooled = [picture.pooled for picture in features]
    of_control = {one.measure.control: one(pooled) for one in head.numbers}
    return [
        {control: estimates[at] for control, estimates in of_control.items()}
        for at in range(len(features))
    ]


def _read_numbers(records: Sequence[Mapping[str, Any]], arrays: Tensors) -> tuple[NumberHead, ...]:
    return tuple(
        NumberHead(
            Measure(str(one["control"]), NumberRange(**one["allowed"])),
            unpack(Line, f"{_NUMBERS}/{i}/line", arrays),
            arrays[f"{_NUMBERS}/{i}/misses"],
        )
        for i, one in enumerate(records)
    )


def _read_choices(record: Mapping[str, Any], arrays: Tensors) -> tuple[ChoiceHead, ...]:
    if record["schema"] != SCHEMA:
        raise ValueError(f"choices of schema {record['schema']}, this release reads {SCHEMA}")
    return tuple(
        ChoiceHead(
            Question(str(one["control"]), bool(one["multiple"])),
            tuple(one["choices"]),
            float(one["accuracy"]),
            unpack(Lines, f"{_PART}/{i}/lines", arrays),
            unpack(Scale, f"{_PART}/{i}/scale", arrays),
        )
        for i, one in enumerate(record["heads"])
    )

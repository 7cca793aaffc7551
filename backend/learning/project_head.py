"""A project's head: all that its accepted boxes and answers have taught, in one file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backend.domain import BackboneIdentity, Boxes
from backend.errors import ConfigError
from backend.learning.choices import (
    ChoiceHead,
    Lines,
    Opinion,
    Question,
    Scale,
    answered,
    fit_choices,
)
from backend.learning.examples import Example
from backend.learning.features import PictureFeatures
from backend.learning.fit import fit
from backend.learning.grids import FeaturePair
from backend.learning.head import Head
from backend.learning.head import predict as predict_boxes
from backend.learning.promote import Counts
from backend.learning.tensors import Tensors, metadata_of, pack, unpack
from backend.learning.trainer import Progress

SCHEMA = 1
_PART = "choices"
_METRICS = ("f1_50", "f1_70", "mean_iou", "no_edit", "ece", "fit_s")


@dataclass(frozen=True, slots=True)
class ProjectHead:
    """boxes: None where no box was accepted. choices: one head a control that was learned.

    small: which kind of features it reads.
    """

    boxes: Head | None
    choices: tuple[ChoiceHead, ...]
    small: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of boxes that it knows."""
        return self.boxes.labels if self.boxes is not None else ()

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls of choices that it answers."""
        return tuple(one.question.control for one in self.choices)

    def without(self, controls: Collection[str]) -> ProjectHead:
        """The same, leaving these controls of choices alone."""
        kept = tuple(one for one in self.choices if one.question.control not in controls)
        return replace(self, choices=kept)

    def to_bytes(self) -> bytes:
        """As safetensors; without choices the bytes of the head for boxes alone."""
        if self.boxes is None:
            arrays: Tensors = {}
            record: dict[str, Any] = {}
        else:
            whole = self.boxes.to_bytes()
            if not self.choices:
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
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"This is not a head: {error}.", "Import a file that `heads export` wrote."
            ) from error
        boxes = Head.from_bytes(data) if "labels" in record or told is None else None
        return cls(boxes, choices, boxes.small if boxes is not None else small)


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """What a head is worth out of fold: metrics by name, counts by picture."""

    metrics: Mapping[str, float]
    per_picture: Mapping[str, Counts]


def fit_project(
    examples: Sequence[Example],
    features: Mapping[str, FeaturePair],
    labels: Sequence[str],
    questions: Sequence[Question],
    backbone: BackboneIdentity,
    *,
    progress: Progress = lambda share: None,
) -> tuple[ProjectHead, ProjectReport]:
    """A head from accepted pictures, and what it is worth.

    Arguments as ``fit``; questions: those that may be learned. Raises: RequestError
    where neither a box nor two different answers were accepted.
    """
    used = [example for example in examples if example.picture in features]
    drawn = [example for example in used if example.drawn_on]
    known = [one for one in (answered(question, used) for question in questions) if one]
    boxes: Head | None = None
    metrics: dict[str, float] = {}
    counts: dict[str, Counts] = {}
    if not known or any(name in labels for one in drawn for name in one.boxes.label):
        boxes, report = fit(drawn, features, labels, backbone, progress=progress)
        metrics = {name: float(getattr(report, name)) for name in _METRICS}
        counts = dict(report.per_picture)
    asked = used if known else ()
    pooled = {example.picture: features[example.picture][0].pooled for example in asked}
    choices = []
    for one in known:
        head, right = fit_choices(one, pooled)
        choices.append(head)
        metrics[f"accuracy_{one.question.control}"] = head.accuracy
        for picture, was_right in right.items():
            before = counts.get(picture, Counts())
            answers = {**before.answers, one.question.control: was_right}
            counts[picture] = replace(before, answers=answers)
    progress(1.0)
    small = boxes.small if boxes is not None else False
    return ProjectHead(boxes, tuple(choices), small), ProjectReport(metrics, counts)


def predict(head: ProjectHead, features: Sequence[PictureFeatures]) -> list[Boxes]:
    """Boxes of each picture, best first; none where the head knows no label."""
    if head.boxes is None:
        return [Boxes.empty(picture.size_hw) for picture in features]
    return predict_boxes(head.boxes, features)


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

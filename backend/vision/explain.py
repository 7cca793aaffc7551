"""What one method makes of a label on a picture: the map and every step to its boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import Boxes, FloatArray, Picture
from backend.errors import ShapeError
from backend.vision import boxes, saliency
from backend.vision.boxes.steps import Steps, steps
from backend.vision.detect import DetectOptions, boxes_from_maps
from backend.vision.look import Looked
from backend.vision.questions import LabelQuery, ask_for, draw_maps, target_of


@dataclass(frozen=True, slots=True)
class Explained:
    """The classes that a map explains.

    matched: whether they are the label's own; else they are those that the network takes
    the picture for. classes: with their share of the target, largest first. probability:
    softmax of the label's classes, None where there are none; of a head's labels it orders
    pictures and is no probability.
    """

    matched: bool
    classes: tuple[tuple[str, float], ...]
    probability: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """method, box_rule: registry names. values_hw: (h, w) map in 0..1, zero where the picture
    is of one colour. boxes: best first. steps: None where the rule shows none.
    """

    method: str
    box_rule: str
    target: Explained
    values_hw: FloatArray
    boxes: Boxes
    steps: Steps | None


def explain(
    looked: Looked,
    pictures: Sequence[Picture],
    label: LabelQuery | None,
    options: DetectOptions,
) -> list[Explanation]:
    """An explanation of each picture for this label, however improbable it is there.

    label: None, or one that matches no class, asks for whatever the network sees, as
    ``detect`` does. The pictures count as one group for methods over many pictures.
    Raises: UnknownName, LabelConfigInvalid for an option that cannot be read, ConfigError
    where the method cannot work with the backbone, ShapeError.
    """
    if len(pictures) != len(looked):
        raise ShapeError(f"{len(looked)} pictures were looked at, {len(pictures)} given.")
    method = saliency.get(options.saliency)
    rule = options.box_rule or method.box_rule
    boxes.get(rule)  # an unknown one is told before any map
    questions = ask_for(looked, label)
    drawn = draw_maps(looked, questions, method, options.extra, together=True)
    labels = () if label is None else (label,)
    found = boxes_from_maps(questions, drawn, pictures, labels, options)
    map_of = {question.row: values for question, values in zip(questions, drawn, strict=True)}
    explained = _explained(looked, label)
    result = []
    for row, picture in enumerate(pictures):
        values_hw = map_of.get(row, np.zeros((1, 1), np.float32))
        result.append(
            Explanation(
                options.saliency,
                rule,
                explained[row],
                values_hw,
                found[row],
                steps(rule, values_hw, picture, options.extra, found[row]),
            )
        )
    return result


def _explained(looked: Looked, label: LabelQuery | None) -> list[Explained]:
    classes = () if label is None else looked.backbone.matcher.match(label.names)
    target = target_of(looked, [classes] * len(looked))
    names = [one.name for one in looked.backbone.classes]
    probability = looked.probability[:, list(classes)].sum(1) if classes else None
    return [
        Explained(
            bool(classes),
            tuple(
                (names[int(index)], float(weight))
                for index, weight in zip(target.class_index[row], target.weight[row], strict=True)
                if float(weight) > 0
            ),
            None if probability is None else min(1.0, float(probability[row])),
        )
        for row in range(len(looked))
    ]

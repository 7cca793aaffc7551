"""Zero-shot answers: the labels a frozen network already knows, the boxes it looks at.

docs/saliency.md has the policy and the measurements behind its constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.domain import UNNAMED, Boxes, FloatArray, Picture, concat_boxes
from backend.errors import ShapeError
from backend.vision import boxes, saliency
from backend.vision.evidence import Named, label_probability
from backend.vision.look import Looked, look, prepare
from backend.vision.questions import LabelQuery, Question, ask, draw_maps
from backend.vision.saliency import OBJECTS

__all__ = [
    "DetectOptions",
    "LabelQuery",
    "Looked",
    "boxes_from_maps",
    "classify",
    "detect",
    "look",
    "prepare",
]


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How to look.

    saliency, box_rule: registry names; box_rule None: the method's own. ``detect`` draws
    OBJECTS as the map that it falls back to.
    extra: further options of the method and of the box rule, as text, with or without
    "model_".
    """

    saliency: str = OBJECTS
    box_rule: str | None = None
    score_threshold: float = 0.0
    max_boxes: int = 20
    extra: Mapping[str, str] = field(default_factory=dict)


def detect(
    looked: Looked,
    pictures: Sequence[Picture],
    labels: Sequence[LabelQuery],
    options: DetectOptions,
) -> list[Boxes]:
    """Boxes of each picture, best first, in pixels of its oriented original.

    looked: what ``look`` made of these pictures, in their order; one look serves any
    number of calls. labels: empty gives unnamed boxes. A picture of one colour has no
    boxes; a score is the map's contrast, see ``_scored``.
    Raises: UnknownName, LabelConfigInvalid for an option that cannot be read, ShapeError.
    """
    if len(pictures) != len(looked):
        raise ShapeError(f"{len(looked)} pictures were looked at, {len(pictures)} given.")
    method = saliency.get(options.saliency)
    boxes.get(options.box_rule or method.box_rule)  # an unknown one is told before any map
    questions = ask(looked, labels)
    maps = draw_maps(looked, questions, method, options.extra)
    return boxes_from_maps(questions, maps, pictures, labels, options)


def boxes_from_maps(
    questions: Sequence[Question],
    maps: Sequence[FloatArray],
    pictures: Sequence[Picture],
    labels: Sequence[LabelQuery],
    options: DetectOptions,
) -> list[Boxes]:
    """Named boxes of each picture, best first, from the map (h, w) of each question.

    Raises: UnknownName, LabelConfigInvalid.
    """
    rule = boxes.get(options.box_rule or saliency.get(options.saliency).box_rule)
    found: list[list[Boxes]] = [[] for _ in pictures]
    drawn = rule(maps, [pictures[question.row] for question in questions], options.extra)
    for question, boxes_of_map in zip(questions, drawn, strict=True):
        found[question.row].append(_scored(boxes_of_map, question.named, labels))
    return [
        concat_boxes(parts, picture.size_hw).best(options.max_boxes, options.score_threshold)
        for parts, picture in zip(found, pictures, strict=True)
    ]


def classify(looked: Looked, labels: Sequence[LabelQuery]) -> list[dict[str, float]]:
    """For each picture the probability of each label that matches a class, by its value.

    A label that matches none is left out: the network cannot speak for or against it.
    """
    matched = {label.value: looked.backbone.matcher.match(label.names) for label in labels}
    return [
        {
            value: label_probability(probability, classes)
            for value, classes in matched.items()
            if classes
        }
        for probability in looked.probability.cpu().numpy()
    ]


def _scored(drawn: Boxes, named: Named, labels: Sequence[LabelQuery]) -> Boxes:
    """Boxes with their name, and scores that know how probable the name is.

    The geometric mean of the map's contrast and the label's probability; the contrast
    alone where the network has no say in the name.
    """
    return Boxes(
        drawn.xyxy_px,
        drawn.score
        if named.probability is None
        else np.sqrt(drawn.score * np.float32(named.probability)),
        (UNNAMED if named.label is None else labels[named.label].value,) * len(drawn),
        drawn.size_hw,
    )

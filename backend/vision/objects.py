"""Boxes that were found without a label get the names for which their cells speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from backend.domain import UNNAMED, Boxes, FloatArray, Picture
from backend.errors import ShapeError
from backend.vision.backbones import Features
from backend.vision.detect import DetectOptions, LabelQuery, detect
from backend.vision.evidence import Named, choose_labels
from backend.vision.look import Looked
from backend.vision.saliency import OBJECTS

SURE = 0.5
"""Probability from which a label is more likely than all others together."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Unnamed boxes of a batch of pictures.

    boxes: of each picture; a score is the probability that a person accepts the box, its
    name aside. looked: whose cells speak for names.
    """

    boxes: tuple[Boxes, ...]
    looked: Looked

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.looked):
            raise ShapeError(
                f"{len(self.looked)} pictures were looked at, boxes of {len(self.boxes)} given."
            )

    def select(self, rows: Sequence[int]) -> Objects:
        """Those of the pictures at these positions, which may repeat."""
        index = torch.tensor(rows, dtype=torch.int64)
        return Objects(tuple(self.boxes[row] for row in rows), self.looked.select(index))


@dataclass(frozen=True, slots=True)
class Sight:
    """What questions about a batch of pictures are answered from.

    looked: for maps, and for the classes of whole pictures. objects: None where they were
    not looked for, or nothing is known of objects for the backbone.
    """

    looked: Looked
    objects: Objects | None = None

    @property
    def evidence(self) -> Looked:
        """Whose cells speak for the names of boxes."""
        return self.looked if self.objects is None else self.objects.looked

    def select(self, rows: Sequence[int]) -> Sight:
        """The pictures at these positions, which may repeat."""
        index = torch.tensor(rows, dtype=torch.int64)
        return Sight(self.looked.select(index), self.objects and self.objects.select(rows))


def find(
    sight: Sight,
    pictures: Sequence[Picture],
    labels: Sequence[LabelQuery],
    options: DetectOptions,
) -> list[Boxes]:
    """Boxes of each picture by the way that the options name. Raises: as detect."""
    if options.saliency == OBJECTS and sight.objects is not None:
        return name_objects(sight.objects, labels, options)
    return detect(sight.looked, pictures, labels, options)


def name_objects(
    objects: Objects, labels: Sequence[LabelQuery], options: DetectOptions
) -> list[Boxes]:
    """The boxes of each picture with names, best first.

    What ``choose_labels`` decides for a picture is decided for the cells inside each box:
    the label that it calls the most probable, the one left by elimination, or none. A
    score is the box's own times the probability of the name where the network has a say
    in it. A picture of one colour has no boxes.
    """
    found = []
    for row, shown in enumerate(objects.looked.shows_something()):
        boxes = objects.boxes[row] if shown else Boxes.empty(objects.boxes[row].size_hw)
        named = _named_inside(objects.looked, row, boxes, labels)
        sure = [1.0 if one.probability is None else one.probability for one in named]
        names = (UNNAMED if one.label is None else labels[one.label].value for one in named)
        score = boxes.score * np.array(sure, np.float32)
        found.append(
            Boxes(boxes.xyxy_px, score, tuple(names), boxes.size_hw).best(
                options.max_boxes, options.score_threshold
            )
        )
    return found


def rename(
    looked: Looked,
    row: int,
    boxes: Boxes,
    labels: Sequence[LabelQuery],
    known: frozenset[str],
    *,
    few: bool,
) -> Boxes:
    """Boxes of a picture that were named by what knows some labels alone, named again.

    known: values of those labels. A box takes another label's name, its score times the
    probability, where the network is surer of that label inside than of all else. few: what
    named them learned from few pictures. Then, where the box has the name of a label that
    matches a class, the network knows both and ``choose_labels`` decides: also for a label
    that it sees a little, or that is left by elimination.
    """
    matcher = looked.backbone.matcher
    matched = {label.value for label in labels if matcher.match(label.names)}
    names, score = list(boxes.label), boxes.score.copy()
    for at, one in enumerate(_named_inside(looked, row, boxes, labels)):
        if one.label is None or labels[one.label].value in known:
            continue
        sure = one.probability
        if (few and names[at] in matched) or (sure is not None and sure >= SURE):
            names[at] = labels[one.label].value
            score[at] *= 1.0 if sure is None else sure
    return Boxes(boxes.xyxy_px, score, tuple(names), boxes.size_hw)


def _named_inside(
    looked: Looked, row: int, boxes: Boxes, labels: Sequence[LabelQuery]
) -> list[Named]:
    """What ``choose_labels`` puts first for the inside of each box."""
    classes = [looked.backbone.matcher.match(label.names) for label in labels]
    return [choose_labels(inner, classes)[0] for inner in inside(looked, row, boxes)]


def inside(looked: Looked, row: int, boxes: Boxes) -> list[FloatArray]:
    """The (classes,) softmax of what each box of a picture shows, by the cells it covers.

    The head is asked as if the cells inside, at least one, were all of the picture: for a
    pooled linear head that is the mean of its class activation maps over the box.
    """
    cells_bchw = looked.features.cells_bchw[row : row + 1]
    height, width = cells_bchw.shape[2:]
    picture_height, picture_width = boxes.size_hw
    found = []
    for x0, y0, x1, y1 in boxes.xyxy_px.tolist():
        columns = _covered(x0 / picture_width, x1 / picture_width, width)
        rows = _covered(y0 / picture_height, y1 / picture_height, height)
        part = Features(cells_bchw[:, :, rows, columns], looked.features.size_px)
        logits = looked.backbone.logits(part)
        found.append(torch.softmax(logits, 1)[0].cpu().numpy())
    return found


def _covered(low: float, high: float, cells: int) -> slice:
    """The cells between two places in 0..1, to the nearest border, one at least."""
    first = min(round(low * cells), cells - 1)
    return slice(first, max(round(high * cells), first + 1))

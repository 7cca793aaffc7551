"""What is to be drawn on which picture, and the maps that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from backend.domain import FloatArray
from backend.vision.evidence import Named, choose_labels, label_probability
from backend.vision.look import Looked
from backend.vision.saliency import SaliencyMethod, Target

LIKELIEST = 5
"""Classes that one map explains at most."""


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """A label to look for. value: what a box is named; names: what it may be called."""

    value: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """row: which picture. named: what to draw on it."""

    row: int
    named: Named


def ask(looked: Looked, labels: Sequence[LabelQuery]) -> list[Question]:
    """What the pictures speak for among the labels; nothing of a picture of one colour."""
    label_classes = [looked.backbone.matcher.match(label.names) for label in labels]
    shown = looked.shows_something()
    return [
        Question(row, named)
        for row, probability in enumerate(looked.probability.cpu().numpy())
        if shown[row]
        for named in choose_labels(probability, label_classes)
    ]


def ask_for(looked: Looked, label: LabelQuery | None) -> list[Question]:
    """One question a picture that shows something: this label, however improbable it is there.

    label: one that matches no class, and None, ask for whatever the network sees.
    """
    classes = () if label is None else looked.backbone.matcher.match(label.names)
    shown = looked.shows_something()
    place = None if label is None else 0
    return [
        Question(
            row, Named(place, classes, label_probability(probability, classes) if classes else None)
        )
        for row, probability in enumerate(looked.probability.cpu().numpy())
        if shown[row]
    ]


def target_of(rows: Looked, classes: Sequence[tuple[int, ...]]) -> Target:
    """The likeliest of each row's classes (of all classes where it has none), by probability."""
    logits = rows.logits
    if any(classes):
        allowed = torch.ones_like(logits, dtype=torch.bool)
        for row, chosen in enumerate(classes):
            if chosen:
                allowed[row] = False
                allowed[row, list(chosen)] = True
        logits = logits.masked_fill(~allowed, -torch.inf)
    top = logits.topk(min(LIKELIEST, logits.shape[1]), 1)
    return Target(top.indices, torch.softmax(top.values, 1))


def draw_maps(
    looked: Looked,
    questions: Sequence[Question],
    method: SaliencyMethod,
    extra: Mapping[str, str],
    *,
    together: bool = False,
) -> list[FloatArray]:
    """The map (h, w) in 0..1 of each question, in order.

    Those that know a class are drawn in one batch, the others in another. extra: options
    as text. together: methods over many pictures compare those with the same classes; else
    no map depends on what is asked beside it.
    Raises: LabelConfigInvalid for an option that cannot be read.
    """
    maps: dict[int, FloatArray] = {}
    for known, draw in ((True, method.draw), (False, method.without_class)):
        group = [at for at, one in enumerate(questions) if bool(one.named.classes) is known]
        if not group:
            continue
        rows = looked.select(torch.tensor([questions[at].row for at in group]))
        classes = [questions[at].named.classes for at in group]
        target = target_of(rows, classes)
        if together:
            numbers = {one: number for number, one in enumerate(dict.fromkeys(classes))}
            same = torch.tensor([numbers[one] for one in classes])
            target = Target(target.class_index, target.weight, same)
        maps.update(zip(group, draw(rows, target, extra).values_bhw, strict=True))
    return [maps[at] for at in range(len(questions))]

"""Which labels a picture's class probabilities speak for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain import FloatArray

SEEN = 0.05
"""Probability of all matched labels together below which none of them is in the picture."""

SHARE = 0.3
"""Share of that probability from which a label gets a box of its own."""


@dataclass(frozen=True, slots=True)
class Named:
    """A box to draw. label: index into the labels, None for an unnamed one.

    classes: what the map shall explain; empty where no known class is meant.
    probability: of the label; None where the network has nothing to say about it.
    """

    label: int | None
    classes: tuple[int, ...]
    probability: float | None


def label_probability(probability: FloatArray, classes: Sequence[int]) -> float:
    """Sum over a label's classes of a picture's (classes,) softmax."""
    return min(1.0, math.fsum(float(probability[index]) for index in classes))


def choose_labels(probability: FloatArray, label_classes: Sequence[Sequence[int]]) -> list[Named]:
    """What to draw on a picture, most probable first; never empty.

    probability: (classes,) softmax. label_classes: of each label, its matched classes.

    - The matched labels together reach SEEN: each of them with at least SHARE of their
      probability, the best one always.
    - They do not, or there are none. A picture of a project shows what the project is
      about, so a label that is left by elimination gets the box: the only unmatched
      one, or the best matched one where every label is matched. Where several labels are
      left, people name the box.
    """
    matched = {
        index: label_probability(probability, classes)
        for index, classes in enumerate(label_classes)
        if classes
    }
    total = sum(matched.values())
    order = sorted(matched, key=lambda index: -matched[index])
    if total >= SEEN:
        return [
            Named(index, tuple(label_classes[index]), matched[index])
            for index in order
            if index == order[0] or matched[index] >= SHARE * total
        ]
    unmatched = [index for index in range(len(label_classes)) if index not in matched]
    if len(unmatched) == 1:
        return [Named(unmatched[0], (), None)]
    if not unmatched and order:
        return [Named(order[0], (), matched[order[0]])]
    return [Named(None, (), None)]

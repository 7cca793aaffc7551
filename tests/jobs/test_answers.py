"""A head's boxes beside those of the way without a head."""

from __future__ import annotations

import numpy as np

from backend.domain import UNNAMED, Boxes
from backend.jobs.answers import joined
from backend.vision.detect import LabelQuery

SIZE_HW = (100, 100)
HERE, NEAR, THERE = (0, 0, 40, 40), (2, 0, 40, 40), (60, 60, 90, 90)
LABELS = [LabelQuery("Known", ("no class",)), LabelQuery("Other", ("nor this",))]


def boxes(**by_label: tuple[int, int, int, int]) -> Boxes:
    names = tuple(UNNAMED if name == "unnamed" else name for name in by_label)
    xyxy_px = np.array(list(by_label.values()), np.float32).reshape(-1, 4)
    return Boxes(xyxy_px, np.full(len(names), 0.5, np.float32), names, SIZE_HW)


def labels_of(learned: Boxes, zero_shot: Boxes) -> tuple[str, ...]:
    (whole,) = joined([learned], [zero_shot], None, LABELS, frozenset({"Known"}), few=False)
    return whole.label


def test_another_label_comes_along_where_the_head_has_no_box() -> None:
    assert labels_of(boxes(Known=HERE), boxes(Other=THERE)) == ("Known", "Other")
    assert labels_of(boxes(Known=HERE), boxes(Other=NEAR)) == ("Known",)


def test_what_the_head_says_better_is_left_out() -> None:
    assert labels_of(boxes(Known=HERE), boxes(unnamed=THERE)) == ("Known",)
    assert labels_of(boxes(Known=HERE), boxes(Known=THERE)) == ("Known",)


def test_boxes_of_labels_that_were_not_asked_for_are_left_out() -> None:
    assert labels_of(boxes(Elsewhere=HERE), boxes(Other=NEAR)) == ("Other",)

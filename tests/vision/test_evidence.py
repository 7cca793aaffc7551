"""Which labels get a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from backend.vision.evidence import Named, choose_labels, label_probability


@pytest.mark.parametrize(
    ("probability", "label_classes", "expected"),
    [
        pytest.param([1.0], [], [Named(None, (), None)], id="no-labels"),
        pytest.param([1.0], [()], [Named(0, (), None)], id="one-label-unmatched"),
        pytest.param([1.0], [(), ()], [Named(None, (), None)], id="several-unmatched"),
        pytest.param([0.5, 0.5], [(1,)], [Named(0, (1,), 0.5)], id="one-label-seen"),
        pytest.param([1.0, 0.0], [(1,)], [Named(0, (), 0.0)], id="one-label-not-seen"),
        pytest.param(
            [0.0, 0.25, 0.5], [(1,), (2,)], [Named(1, (2,), 0.5), Named(0, (1,), 0.25)], id="both"
        ),
        pytest.param([0.0, 0.125, 0.5], [(1,), (2,)], [Named(1, (2,), 0.5)], id="share-too-small"),
        pytest.param(
            [0.25, 0.25, 0.125], [(0, 1), (2,)], [Named(0, (0, 1), 0.5)], id="classes-add-up"
        ),
        pytest.param([1.0, 0.0], [(1,), ()], [Named(1, (), None)], id="left-by-elimination"),
        pytest.param([1.0, 0.0], [(1,), (), ()], [Named(None, (), None)], id="two-left"),
        pytest.param(
            [1.0, 0.0, 0.03125], [(1,), (2,)], [Named(1, (), 0.03125)], id="all-matched-none-seen"
        ),
    ],
)
def test_choose_labels(
    probability: list[float], label_classes: Sequence[Sequence[int]], expected: list[Named]
) -> None:
    assert choose_labels(np.array(probability, np.float32), label_classes) == expected


def test_a_probability_never_exceeds_one() -> None:
    rounded_up = np.array([0.6, 0.4000001], np.float32)
    assert label_probability(rounded_up, (0, 1)) == 1.0

"""Stated probabilities against what happened."""

from __future__ import annotations

import numpy as np
import pytest

from backend.errors import ShapeError
from backend.learning.calibration import expected_calibration_error, reliability


def test_no_prediction_has_no_error() -> None:
    assert expected_calibration_error(np.zeros(0, np.float32), np.zeros(0, bool)) == 0.0
    assert [part.count for part in reliability(np.zeros(0, np.float32), np.zeros(0, bool))] == [
        0
    ] * 10


@pytest.mark.parametrize(
    ("probability", "happened", "error"),
    [
        pytest.param([1.0], [True], 0.0, id="sure and right"),
        pytest.param([1.0], [False], 1.0, id="sure and wrong"),
        pytest.param([0.0, 0.0], [False, True], 0.5, id="half of the hopeless came true"),
        # bin .6-.7: two, stated .65, happened .5 -> .15; bin .2-.3: one, .25 against 0.
        pytest.param(
            [0.65, 0.65, 0.25], [True, False, False], (2 * 0.15 + 0.25) / 3, id="two bins"
        ),
        pytest.param([0.5, 0.5], [True, False], 0.0, id="half and half"),
    ],
)
def test_error(probability: list[float], happened: list[bool], error: float) -> None:
    found = expected_calibration_error(np.array(probability, np.float32), np.array(happened))
    assert found == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("at", range(10))
def test_a_bin_holds_its_lower_edge_and_the_last_one_both(at: int) -> None:
    counts = [p.count for p in reliability(np.array([at / 10], np.float32), np.array([True]))]
    assert counts[at] == 1
    assert sum(counts) == 1
    assert reliability(np.ones(1, np.float32), np.array([True]))[-1].count == 1


def test_lengths_must_agree() -> None:
    with pytest.raises(ShapeError):
        reliability(np.zeros(2, np.float32), np.zeros(3, bool))

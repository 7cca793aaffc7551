"""Figures of rounds: medians, quotients, what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluation.figures import Figures
from backend.evaluation.samples import Samples, quotient
from backend.evaluation.throughput import agreement


def test_the_median_counts_and_nothing_is_made_up() -> None:
    samples = Samples()
    for value in (9.0, 1.0, 2.0):
        samples.add("a_1", value)
    samples.add("a_8", 3.0)
    assert samples.median("a_1") == 2.0
    assert samples.best(["a_1", "a_8"]) == "a_8"
    assert samples.median("never taken") is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(6.0, 3.0, 2.0), (None, 3.0, None), (6.0, None, None), (6.0, 0.0, None)],
)
def test_quotients(one: float | None, other: float | None, expected: float | None) -> None:
    assert quotient(one, other) == expected


def test_a_table_says_what_is_missing() -> None:
    figures = Figures({"whole_images_s": 12.34567, "torchcam_ms": None}, {"tasks": 3}, "heading")
    assert figures.as_dict() == {"whole_images_s": 12.3457, "torchcam_ms": None, "tasks": 3}
    heading, whole, torchcam = figures.told().splitlines()
    assert heading == "heading"
    assert whole.split() == ["whole_images_s", "12.35"]
    assert torchcam.split(maxsplit=1) == ["torchcam_ms", "not installed"]


def region(x: float, y: float, width: float, height: float) -> dict[str, object]:
    value = {"x": x, "y": y, "width": width, "height": height}
    return {"value": value, "original_width": 200, "original_height": 100}


def test_served_boxes_are_held_against_those_found_in_process() -> None:
    served = [
        {"result": [region(10, 10, 50, 50)]},  # 20 10 120 60 in pixels
        {"result": [region(10, 10, 50, 50)]},
        {"result": []},
        {"result": []},
        {"result": [region(0, 0, 1, 1)]},  # beyond what was found in process
    ]
    found = [
        np.array([[20, 10, 120, 60]], np.float32),
        np.array([[60, 10, 160, 60]], np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[20, 10, 120, 60]], np.float32),
    ]
    assert agreement(served, found) == 0.5

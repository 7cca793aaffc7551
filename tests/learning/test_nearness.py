"""When points are the same place, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backend.learning.nearness import hits, likeness, near_px

SIZE_HW = (100, 200)  # near: 10 pixels


def points(*places: tuple[float, float]) -> np.ndarray:
    return np.array(places, np.float32).reshape(-1, 2)


@pytest.mark.parametrize(
    ("found", "accepted", "expected"),
    [
        pytest.param([], [], [], id="none"),
        pytest.param([], [(5, 5)], [], id="none found"),
        pytest.param([(5, 5)], [], [False], id="none accepted"),
        pytest.param([(15, 5)], [(5, 5)], [True], id="just near"),
        pytest.param([(15.1, 5)], [(5, 5)], [False], id="just not"),
        pytest.param([(6, 5), (5, 5)], [(5, 5)], [True, False], id="one to one"),
        pytest.param([(5, 5), (5, 5)], [(5, 5), (9, 5)], [True, True], id="each takes one"),
    ],
)
def test_hits(
    found: list[tuple[float, float]], accepted: list[tuple[float, float]], expected: list[bool]
) -> None:
    assert near_px(SIZE_HW) == 10
    assert hits(points(*found), points(*accepted), SIZE_HW).tolist() == expected


def test_likeness_is_of_distance_where_there_is_no_area() -> None:
    first = np.array([(5, 5, 5, 5), (0, 0, 10, 10)], np.float32)
    second = np.array([(5, 5, 5, 5), (15, 5, 15, 5), (90, 5, 90, 5), (0, 0, 10, 20)], np.float32)
    assert likeness(first, second, SIZE_HW).tolist() == [[1, 0.5, 0, 0], [0, 0, 0, 0.5]]


def test_likeness_of_nothing() -> None:
    none = np.zeros((0, 4), np.float32)
    assert likeness(none, none, SIZE_HW).shape == (0, 0)

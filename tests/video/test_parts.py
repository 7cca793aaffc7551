from __future__ import annotations

from itertools import pairwise

import pytest

from backend.video.frames import Clip
from backend.video.parts import Part, plan_parts


@pytest.mark.parametrize(
    ("frames", "every", "most", "expected"),
    [
        pytest.param(0, 5, 10, [(0, None)], id="length unknown"),
        pytest.param(1, 5, 10, [(0, None)], id="one frame"),
        pytest.param(50, 5, 10, [(0, None)], id="just one"),
        pytest.param(51, 5, 10, [(0, 30), (30, None)], id="two of equal length"),
        pytest.param(100, 1, 25, [(0, 25), (25, 50), (50, 75), (75, None)], id="every frame"),
    ],
)
def test_parts(frames: int, every: int, most: int, expected: list[tuple[int, int | None]]) -> None:
    assert plan_parts(Clip((90, 120), 25.0, frames), every, most) == [
        Part(*one) for one in expected
    ]


def test_parts_meet_on_frames_that_are_looked_at() -> None:
    parts = plan_parts(Clip((90, 120), 25.0, 15_000), 10, 300)
    assert len(parts) == 5
    for before, after in pairwise(parts):
        assert before.last == after.first
        assert after.first % 10 == 0
    assert all((one.last or 15_000) - one.first <= 300 * 10 for one in parts)

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.video.key_frames import between, drawn_iou, thin
from backend.video.tracks import Spot
from tests.video.drawn import path_of


def spot(frame: int, box: FloatArray) -> Spot:
    return Spot(frame, frame / 25, box, 0.9)


def bent(count: int) -> list[Spot]:
    """Right, then down."""
    corner = count // 2
    return [
        spot(
            at,
            np.array([0, 0, 30, 30], np.float32)
            + 4 * np.array([min(at, corner), max(0, at - corner)] * 2, np.float32),
        )
        for at in range(count)
    ]


def test_a_straight_path_needs_its_ends() -> None:
    path = [spot(at, path_of(at)) for at in range(30)]
    assert [one.frame for one in thin(path, 0.95)] == [0, 29]


def test_a_bend_is_kept() -> None:
    assert [one.frame for one in thin(bent(41), 0.95)] == [0, 20, 40]


@pytest.mark.parametrize("least_iou", [0.6, 0.8, 0.9])
def test_no_box_is_farther_off_than_stated(least_iou: float) -> None:
    rng = np.random.default_rng(3)
    wave = [
        spot(
            at,
            np.array([50 + 30 * np.sin(at / 6), 40, 90 + 30 * np.sin(at / 6), 90], np.float32)
            + rng.normal(0, 1, 4).astype(np.float32),
        )
        for at in range(60)
    ]
    kept = thin(wave, least_iou)
    assert 2 < len(kept) < len(wave)
    ends = [one.frame for one in kept]
    for one in wave:
        at = max(i for i, frame in enumerate(ends) if frame <= one.frame)
        if one.frame != ends[at]:
            assert drawn_iou(kept[at], kept[at + 1], one) >= least_iou


def test_short_paths_stay() -> None:
    for count in (0, 1, 2):
        path = [spot(at, path_of(at)) for at in range(count)]
        assert thin(path, 0.9) == tuple(path)


def test_between_goes_by_time_not_by_number() -> None:
    late = Spot(10, 1.0, np.array([10, 10, 20, 20], np.float32), 1.0)
    early = Spot(0, 0.0, np.array([0, 0, 10, 10], np.float32), 1.0)
    assert between(early, late, 0.25) == pytest.approx([2.5, 2.5, 12.5, 12.5])

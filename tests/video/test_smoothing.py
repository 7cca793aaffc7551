from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray, iou_matrix
from backend.video.smoothing import coordinates, corners, smooth
from backend.video.tracks import Spot
from tests.video.drawn import path_of


def spots(boxes: list[FloatArray], moved: bool) -> list[Spot]:
    truth = [coordinates(path_of(at)) for at in range(len(boxes))]
    return [
        Spot(at, at / 25, box, 0.9, 1.0, truth[at] - truth[at - 1] if moved and at else None)
        for at, box in enumerate(boxes)
    ]


def test_corners_come_back() -> None:
    box = np.array([3, 4, 10, 44], np.float32)
    assert corners(coordinates(box)) == pytest.approx(box, abs=1e-4)


def test_a_straight_path_with_known_steps_stays() -> None:
    boxes = [path_of(at) for at in range(12)]
    for before, after in zip(spots(boxes, True), smooth(spots(boxes, True)), strict=True):
        assert after.xyxy_px == pytest.approx(before.xyxy_px, abs=1e-2)


def test_noise_is_halved_where_the_flow_says_how_things_move() -> None:
    rng = np.random.default_rng(0)
    true = [path_of(at) for at in range(40)]
    noisy = [box + rng.normal(0, 4, 4).astype(np.float32) for box in true]

    def error(boxes: list[FloatArray]) -> float:
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(boxes, true, strict=True)]))

    steadied = [spot.xyxy_px for spot in smooth(spots(noisy, True))]
    assert error(steadied) < 0.5 * error(noisy)


def test_without_flow_a_seen_box_stays_nearly_where_it_was_seen() -> None:
    jump = [path_of(0), path_of(30), path_of(0)]
    for before, after in zip(jump, smooth(spots(jump, False)), strict=True):
        assert iou_matrix(before[None], after.xyxy_px[None])[0, 0] > 0.85


def test_one_spot_alone_is_itself() -> None:
    alone = spots([path_of(3)], False)
    assert smooth(alone)[0].xyxy_px == pytest.approx(alone[0].xyxy_px, abs=1e-3)

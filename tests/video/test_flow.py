from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray, iou_matrix
from backend.video.flow import carry, find_again
from tests.video.drawn import HW, grey, path_of, texture


def overlap(a: FloatArray, b: FloatArray) -> float:
    return float(iou_matrix(a[None], b[None])[0, 0])


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_box_goes_with_what_is_in_it(step: int) -> None:
    before, after = path_of(5), path_of(5 + step)
    moved = carry(grey(before), grey(after), before)
    assert moved is not None
    assert overlap(moved.xyxy_px, after) > max(0.9, overlap(before, after))
    assert 0.5 < moved.sureness <= 1


def test_growth_is_followed() -> None:
    before = np.array([60, 40, 120, 100], np.float32)
    after = np.array([54, 34, 126, 106], np.float32)
    moved = carry(grey(before), grey(after), before)
    assert moved is not None
    assert float(moved.xyxy_px[2] - moved.xyxy_px[0]) == pytest.approx(72, abs=3)


def test_what_is_gone_is_lost_and_not_guessed() -> None:
    before = path_of(5)
    other = np.asarray(texture(99, HW)[..., 0])
    assert carry(grey(before), other, before) is None
    assert find_again(grey(before), other, before) is None


def test_a_box_without_anything_to_hold_on_to_is_lost() -> None:
    flat = np.full(HW, 90, np.uint8)
    assert find_again(flat, flat, path_of(5)) is None


def test_a_box_outside_the_frame_is_lost() -> None:
    outside = np.array([-80, -80, -20, -20], np.float32)
    assert carry(grey(path_of(0)), grey(path_of(0)), outside) is None


def test_features_find_what_jumped() -> None:
    before = np.array([30, 30, 94, 94], np.float32)
    after = before + np.array([70, 40, 70, 40], np.float32)
    moved = find_again(grey(before), grey(after), before)
    assert moved is not None
    assert overlap(moved.xyxy_px, after) > 0.8

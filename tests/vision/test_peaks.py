"""Peaks of maps whose tops are known between the cells."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.vision.peaks import peaks_of


def bumps(
    *places: tuple[float, float, float], size_hw: tuple[int, int] = (12, 20), spread: float = 0.08
) -> FloatArray:
    """A sum of Gaussians at x, y in 0..1 with a height each."""
    height, width = size_hw
    y, x = ((np.arange(height) + 0.5) / height)[:, None], ((np.arange(width) + 0.5) / width)[None]
    drawn = np.zeros(size_hw)
    for at_x, at_y, tall in places:
        drawn += tall * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * spread**2))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("x", [0.31, 0.5, 0.677])
@pytest.mark.parametrize("y", [0.25, 0.46])
def test_a_top_is_found_between_the_cells(x: float, y: float) -> None:
    peaks = peaks_of(bumps((x, y, 1.0)))
    # A cell is .05 wide and .083 high: by cells alone it could be .025 and .042 off.
    assert peaks.xy_unit[0] == pytest.approx((x, y), abs=0.006)


def test_the_parabola_is_exact_on_a_parabola() -> None:
    at = np.arange(9, dtype=np.float32)
    line = -np.square(at - 4.3)
    peaks = peaks_of((line[None] + line[:, None]).astype(np.float32))
    assert peaks.xy_unit[0] == pytest.approx([(4.3 + 0.5) / 9] * 2, abs=1e-5)
    assert peaks.value[0] == pytest.approx(-0.18, abs=1e-5), "of the cell, not of the top"


def test_the_highest_come_first_and_none_is_near_another() -> None:
    drawn = bumps((0.2, 0.3, 0.7), (0.8, 0.7, 1.0), (0.3, 0.3, 0.2))
    apart = peaks_of(drawn, 5, 0.2)
    assert apart.xy_unit == pytest.approx(np.array([(0.8, 0.7), (0.21, 0.3)]), abs=0.02)
    assert (np.diff(apart.value) < 0).all()
    assert len(peaks_of(drawn, 1, 0.2)) == 1


def test_a_slope_is_no_peak() -> None:
    """Beside a broad bump what lies beyond the suppressed cells is lower, and no top."""
    assert len(peaks_of(bumps((0.5, 0.5, 1.0), spread=0.3), 8, 0.1)) == 1


def test_at_the_border_the_cell_itself_is_told() -> None:
    drawn = np.zeros((4, 4), np.float32)
    drawn[0, 3] = 1
    assert peaks_of(drawn).xy_unit.tolist() == [[0.875, 0.125]]


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param(np.zeros((5, 5), np.float32), id="flat"),
        pytest.param(np.zeros((1, 1), np.float32), id="one cell"),
        pytest.param(np.full((3, 3), np.nan, np.float32), id="no number"),
    ],
)
def test_a_flat_map_has_no_peak(drawn: FloatArray) -> None:
    assert len(peaks_of(drawn, 3)) == 0

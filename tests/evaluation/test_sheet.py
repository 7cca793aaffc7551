"""Sheets of pictures, maps and boxes."""

from __future__ import annotations

import numpy as np

from backend.domain import Boxes, Picture
from backend.evaluation.sheet import SheetRow, draw_sheet, overlay


def test_an_empty_sheet_is_a_blank() -> None:
    assert draw_sheet([]).shape == (1, 1, 3)


def test_a_row_has_three_panels_and_the_box_is_drawn_on_the_last() -> None:
    rgb = np.full((50, 100, 3), 90, np.uint8)
    picture = Picture(rgb, (100, 200), "drawn")  # decoded at half the original's size
    boxes = Boxes(
        np.array([[40, 60, 120, 90]], np.float32), np.array([0.5], np.float32), ("a",), (100, 200)
    )
    row = SheetRow(picture, np.zeros((3, 3), np.float32), boxes)
    sheet = draw_sheet([row, row], height_px=100)
    assert sheet.shape == (2 * (100 + 6), 3 * (200 + 6), 3)
    left = 2 * (200 + 6)
    assert tuple(sheet[89, left + 80]) == (255, 64, 64)  # the lower edge, as in the original
    assert tuple(sheet[95, left + 80]) == (90, 90, 90)
    assert (rgb == 90).all()


def test_the_tint_goes_from_blue_to_red() -> None:
    tinted = overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0.0, 1.0]], np.float32))
    assert tinted[0, 0, 2] > tinted[0, 0, 0]
    assert tinted[0, 1, 0] > tinted[0, 1, 2]

"""Sheets of explanations: where things are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.domain import Boxes, Picture
from backend.evaluation.sheet import PANELS, Section, SheetRow, draw_gallery, draw_sheet, draw_units
from backend.vision.boxes.steps import Steps
from backend.vision.explain import Explained, Explanation
from backend.vision.overlay import overlay
from backend.vision.units import Unit

HEIGHT, GAP, LINE = 100, 6, 20


def row(steps: bool = True) -> SheetRow:
    rgb = np.full((50, 100, 3), 90, np.uint8)
    picture = Picture(rgb, (100, 200), "drawn")  # decoded at half the original's size
    boxes = Boxes(
        np.array([[40, 60, 120, 90]], np.float32), np.array([0.5], np.float32), ("a",), (100, 200)
    )
    left = np.array([[True, False]])
    explanation = Explanation(
        "cam",
        "threshold",
        Explained(True, (("a", 1.0),), 0.5),
        np.array([[0.0, 1.0]], np.float32),
        boxes,
        Steps(left, ~left, left, ~left) if steps else None,
    )
    return SheetRow("cam", picture, explanation)


def panels(one: SheetRow) -> dict[str, np.ndarray]:
    sheet = draw_sheet([Section("", (one,))], HEIGHT)
    assert sheet.shape == (1 + 2 * LINE + HEIGHT + GAP, len(PANELS) * (200 + GAP), 3)
    lower = sheet[1 + 2 * LINE :][:HEIGHT]
    return {name: lower[:, at * 206 : at * 206 + 200] for at, name in enumerate(PANELS)}


def test_an_empty_sheet_is_a_blank() -> None:
    assert draw_sheet([]).shape == (1, 1, 3)


def test_a_row_has_a_panel_a_step() -> None:
    drawn = panels(row())
    assert (drawn["picture"] == 90).all()
    assert drawn["map"][50, 5, 2] > drawn["map"][50, 5, 0]  # blue where it is 0
    assert drawn["map"][50, 195, 0] > drawn["map"][50, 195, 2]  # red where it is 1
    assert drawn["seeds"][50, 5].argmax() == 1, "sure: green"
    assert drawn["seeds"][50, 195].argmax() == 2, "ground: blue"
    assert (drawn["mask"][50, 5] == 90).all()
    assert (drawn["mask"][50, 195] < 40).all()
    assert (drawn["component"][50, 5] < 40).all()
    assert (drawn["component"][50, 195] == 90).all()
    assert tuple(drawn["boxes"][89, 80]) == (255, 64, 64)  # the lower edge, as in the original
    assert tuple(drawn["boxes"][95, 80]) == (90, 90, 90)


def test_a_rule_without_steps_leaves_their_panels_blank() -> None:
    drawn = panels(row(steps=False))
    for name in ("seeds", "mask", "component"):
        assert (drawn[name] == 255).all()
    assert (drawn["boxes"] != 255).any()


def test_the_picture_itself_stays_as_it_is() -> None:
    one = row()
    draw_sheet([Section("heading", (one, one))], HEIGHT)
    assert (one.picture.rgb_u8 == 90).all()


def test_headings_and_captions_take_a_line_each() -> None:
    one = replace(row(), caption="")
    plain = draw_sheet([Section("", (one,))], HEIGHT)
    headed = draw_sheet([Section("h", (replace(one, caption="c"),))], HEIGHT)
    assert headed.shape[0] == plain.shape[0] + 2 * (LINE - 1)


@pytest.mark.parametrize("size_hw", [(50, 8000), (8000, 50), (1, 1)])
def test_a_picture_of_any_shape_keeps_the_sheet_small(size_hw: tuple[int, int]) -> None:
    picture = Picture(np.zeros((*size_hw, 3), np.uint8), size_hw, "drawn")
    explanation = replace(row().explanation, boxes=Boxes.empty(size_hw))
    sheet = draw_sheet([Section("", (SheetRow("", picture, explanation),))], HEIGHT)
    assert sheet.shape[1] <= len(PANELS) * (3 * HEIGHT + GAP)
    assert sheet.shape[0] <= 2 + LINE + HEIGHT + GAP


def test_units_show_the_pictures_that_excite_them() -> None:
    pictures = [row().picture, row().picture]
    maps = np.zeros((2, 1, 1), np.float32)
    maps[0] = 1
    unit = Unit(7, 0.5, 0.25, (1, 0), (2.0, 1.0), maps)
    sheet = draw_units([unit, unit], pictures, HEIGHT)
    assert sheet.shape == (2 * (LINE + HEIGHT + GAP), 2 * (200 + GAP), 3)
    first, second = sheet[LINE + 50, 100], sheet[LINE + 50, 306]
    assert first.argmax() == 0
    assert second.argmax() == 2


def test_the_tint_goes_from_blue_to_red() -> None:
    tinted = overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0.0, 1.0]], np.float32))
    assert tinted[0, 0, 2] > tinted[0, 0, 0]
    assert tinted[0, 1, 0] > tinted[0, 1, 2]


def test_a_gallery_has_maps_alone_several_in_a_line() -> None:
    drawn = draw_gallery([Section("", (row(),) * 3)], HEIGHT, across=2)
    assert drawn.shape == (1 + 2 * (LINE + HEIGHT + GAP), 2 * (200 + GAP), 3)
    first, third = drawn[1 + LINE :], drawn[1 + LINE + HEIGHT + GAP + LINE :]
    for cell in (first, third):
        assert cell[50, 5, 2] > cell[50, 5, 0]
        assert tuple(cell[89, 80]) == (255, 64, 64)
    assert (third[:HEIGHT, 206:] == 255).all(), "nothing beside the last one"

"""A rectangle or clicks become a box and a mask, on drawn pictures with made-up features."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Boxes, FloatArray, Picture, iou_matrix
from backend.errors import ShapeError
from backend.vision.anchored import Anchor, proposed, refine
from backend.vision.likeness import anchored_map
from tests.vision.conftest import as_picture, drawn_picture

GRID = 20
OBJECT = (50.0, 30.0, 110.0, 90.0)
NOWHERE = np.zeros((0, 2))


def cells_of(*boxes: tuple[float, ...], size_hw: tuple[int, int] = (120, 160)) -> FloatArray:
    """(5, 20, 20): noise, and in each box a direction of its own besides."""
    cells = np.random.default_rng(0).normal(0, 0.3, (2 + len(boxes), GRID, GRID))
    y = (np.arange(GRID) + 0.5)[:, None] / GRID * size_hw[0]
    x = (np.arange(GRID) + 0.5)[None] / GRID * size_hw[1]
    for channel, (x0, y0, x1, y1) in enumerate(boxes):
        cells[channel] += 3 * ((x > x0) & (x < x1) & (y > y0) & (y < y1))
    return cells.astype(np.float32)


def overlap(found: Boxes, box: tuple[float, ...]) -> float:
    return float(iou_matrix(found.xyxy_px, np.array([box], np.float32))[0, 0])


@pytest.mark.parametrize("seed", range(6))
def test_a_rough_rectangle_comes_closer_to_the_object(seed: int) -> None:
    moved = np.random.default_rng(seed).uniform(-12, 12, 4)
    x0, y0, x1, y1 = (float(edge + step) for edge, step in zip(OBJECT, moved, strict=True))
    rough = (x0, y0, x1, y1)
    found = refine(drawn_picture(), cells_of(OBJECT), [Anchor(rough)])
    assert found is not None
    # Half the way from the rectangle to the mask's box, which fits.
    left = np.abs(found.box.xyxy_px[0] - OBJECT).mean() / np.abs(moved).mean()
    assert 0.35 < left < 0.65
    assert 0 < float(found.box.score[0]) <= 1


def test_the_right_rectangle_stays() -> None:
    found = refine(drawn_picture(), cells_of(OBJECT), [Anchor(OBJECT)])
    assert found is not None
    assert overlap(found.box, OBJECT) > 0.95


def test_the_mask_is_the_disc() -> None:
    picture = drawn_picture()
    found = refine(picture, cells_of(OBJECT), [Anchor(OBJECT)])
    assert found is not None
    disc = picture.rgb_u8[..., 0] > 150
    assert found.mask_hw.shape == disc.shape
    both, either = (found.mask_hw & disc).sum(), (found.mask_hw | disc).sum()
    assert both / either > 0.9


@pytest.mark.parametrize("click", [(80.0, 60.0), (65.0, 50.0), (95.0, 75.0)], ids=str)
def test_a_click_finds_the_object(click: tuple[float, float]) -> None:
    found = refine(drawn_picture(), cells_of(OBJECT), [Anchor((*click, *click))])
    assert found is not None
    assert overlap(found.box, OBJECT) > 0.7


def test_clicks_on_two_things_alike_take_both_and_a_negative_one_lets_go() -> None:
    left, right = (20.0, 40.0, 60.0, 80.0), (100.0, 40.0, 140.0, 80.0)
    picture, cells = drawn_picture(box=(20, 40, 60, 80)), cells_of(left)
    cells += cells_of(right)  # the same direction on both
    both = refine(picture, cells, [Anchor((40, 60, 40, 60)), Anchor((120, 60, 120, 60))])
    one = refine(picture, cells, [Anchor((40, 60, 40, 60)), Anchor((120, 60, 120, 60), False)])
    assert both is not None
    assert one is not None
    assert both.box.xyxy_px[0, 2] > 115  # as far as the second click
    assert overlap(one.box, left) > 0.7
    row, column = GRID // 2, round(120 / 160 * GRID)
    assert one.map_hw[row, column] < 0.05 < both.map_hw[row, column]


def test_nothing_is_there() -> None:
    picture, cells = drawn_picture(), cells_of(OBJECT)
    assert refine(picture, cells, []) is None
    assert refine(picture, cells, [Anchor((80, 60, 80, 60), False)]) is None
    assert refine(picture, cells, [Anchor(OBJECT, False)]) is None


def test_proposals_draw_the_rectangle_half_way() -> None:
    # Nothing is seen on a picture of one colour, so the rectangle and the proposals decide.
    picture = as_picture(np.full((100, 100, 3), 90, np.uint8))
    flat = np.zeros((2, GRID, GRID), np.float32)
    given = (20.0, 20.0, 60.0, 60.0)
    alone = refine(picture, flat, [Anchor(given)])
    assert alone is not None
    np.testing.assert_allclose(alone.box.xyxy_px[0], given, atol=1e-3)
    far = (70.0, 70.0, 90.0, 90.0)
    known = Boxes(
        np.array([(24, 24, 64, 64), far], np.float32), np.ones(2, np.float32), ("", ""), (100, 100)
    )
    drawn = refine(picture, flat, [Anchor(given)], known)
    assert drawn is not None
    np.testing.assert_allclose(drawn.box.xyxy_px[0], (22, 22, 62, 62), atol=1e-3)


def test_proposed_by_hand() -> None:
    rectangle = np.array([0.0, 0.0, 1.0, 1.0])
    boxes = np.array([[0, 0, 1, 0.8], [0, 0, 1, 0.6], [0, 0, 1, 0.4]])
    # Worth .8 + .2 and .6 + .4; the third overlaps too little.
    mean = proposed(rectangle, boxes, np.array([0.2, 0.4, 1.0], np.float32))
    np.testing.assert_allclose(mean, [0, 0, 1, 0.7], atol=1e-6)
    # One worth .1 less weighs 1 / e as much.
    mean = proposed(rectangle, boxes, np.array([0.2, 0.3, 1.0], np.float32))
    np.testing.assert_allclose(mean[3], (0.8 + 0.6 / np.e) / (1 + 1 / np.e), atol=1e-5)
    assert proposed(rectangle, boxes[2:], np.ones(1, np.float32)) is rectangle


def test_map_by_hand() -> None:
    # One channel, 0 on the ground and 1 on the object: Fisher's score is -1 and 1 there.
    cells = np.zeros((1, 40, 40), np.float32)
    cells[0, 16:24, 16:24] = 1
    values = anchored_map(cells, np.array([0.4, 0.4, 0.6, 0.6]), NOWHERE, NOWHERE)
    assert values[20, 20] == pytest.approx((1 + np.tanh(1)) / 2, abs=0.01)
    assert values[20, 25] == pytest.approx((1 + np.tanh(-1)) / 2, abs=0.01)
    assert values[0, 0] < 1e-3  # far away, whatever it looks like
    away = anchored_map(
        cells, np.array([0.4, 0.4, 0.6, 0.6]), NOWHERE, np.array([[0.5125, 0.5125]])
    )
    assert away[20, 20] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (3, 2), (8000, 50)], ids=str)
@pytest.mark.parametrize(
    "place",
    [(0.0, 0.0, 1.0, 1.0), (0.2, 0.2, 0.2001, 0.9), (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)],
)
def test_pictures_and_places_of_any_shape(
    size_hw: tuple[int, int], place: tuple[float, float, float, float]
) -> None:
    noise = np.random.default_rng(0)
    picture = as_picture(noise.integers(0, 256, (*size_hw, 3)).astype(np.uint8))
    height, width = size_hw
    x0, y0, x1, y1 = place
    anchor = Anchor((x0 * width, y0 * height, x1 * width, y1 * height))
    for cells in (noise.normal(size=(3, 7, 7)), np.zeros((2, 1, 1)), np.ones((4, 20, 20))):
        found = refine(picture, cells.astype(np.float32), [anchor])
        assert found is not None
        assert found.box.size_hw == size_hw
        assert np.isfinite(found.map_hw).all()
        assert found.mask_hw.shape == size_hw


def test_marks_beyond_the_picture_are_cut() -> None:
    found = refine(drawn_picture(), cells_of(OBJECT), [Anchor((-50, -50, 500, 500))])
    assert found is not None  # Boxes refuses corners outside the picture


def test_cells_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError):
        refine(drawn_picture(), np.zeros((4, 4), np.float32), [Anchor(OBJECT)])


def test_the_same_answer_every_time() -> None:
    picture, cells = drawn_picture(), cells_of(OBJECT)
    first, second = (refine(picture, cells, [Anchor((45, 40, 100, 80))]) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.box.xyxy_px.tolist() == second.box.xyxy_px.tolist()


def test_a_picture_decoded_smaller_gives_boxes_of_the_original() -> None:
    picture = drawn_picture()
    large = Picture(picture.rgb_u8, (240, 320), "twice as large")
    twice = tuple(2 * edge for edge in OBJECT)
    found = refine(large, cells_of(OBJECT), [Anchor((twice[0], twice[1], twice[2], twice[3]))])
    assert found is not None
    assert found.box.size_hw == (240, 320)
    assert overlap(found.box, twice) > 0.95
    assert found.mask_hw.shape == (120, 160)


def test_what_is_drawn_already_is_another_object() -> None:
    """Two discs alike that touch: a click on the right one takes both unless the left is taken."""
    left, right = (20.0, 40.0, 70.0, 80.0), (70.0, 40.0, 120.0, 80.0)
    picture = drawn_picture(box=(20, 40, 120, 80))
    cells, click = cells_of((20.0, 40.0, 120.0, 80.0)), Anchor((100.0, 60.0, 100.0, 60.0))
    both = refine(picture, cells, [click])
    one = refine(picture, cells, [click], None, np.array([left], np.float32))
    assert both is not None
    assert one is not None
    assert overlap(both.box, (20.0, 40.0, 120.0, 80.0)) > 0.7
    assert overlap(one.box, right) > 0.6
    assert overlap(one.box, left) < 0.15


def test_what_is_drawn_already_may_be_what_is_meant() -> None:
    picture, cells = drawn_picture(), cells_of(OBJECT)
    taken = np.array([OBJECT], np.float32)
    for mark in (Anchor((80, 60, 80, 60)), Anchor((48, 32, 108, 92))):
        free = refine(picture, cells, [mark])
        again = refine(picture, cells, [mark], None, taken)
        assert free is not None
        assert again is not None
        assert again.box.xyxy_px.tolist() == free.box.xyxy_px.tolist()


def test_proposals_that_are_drawn_already_draw_nothing() -> None:
    """A proposal half-way between the rectangle and what is taken, near either."""
    picture = as_picture(np.full((100, 100, 3), 90, np.uint8))
    flat = np.zeros((2, GRID, GRID), np.float32)
    taken = np.array([[30, 20, 80, 60]], np.float32)
    known = Boxes(
        np.array([[20, 20, 70, 60]], np.float32), np.ones(1, np.float32), ("",), (100, 100)
    )
    mark = Anchor((10.0, 20.0, 60.0, 60.0))
    drawn, alone = (refine(picture, flat, [mark], one, taken) for one in (known, None))
    untaken = refine(picture, flat, [mark], known)
    assert drawn is not None
    assert alone is not None
    assert untaken is not None
    assert drawn.box.xyxy_px.tolist() == alone.box.xyxy_px.tolist()
    np.testing.assert_allclose(untaken.box.xyxy_px[0], (15, 20, 65, 60), atol=1e-3)

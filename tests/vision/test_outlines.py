"""Masks of things in boxes, and polygons about masks, on drawn pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.domain import BoolArray, FloatArray, Picture
from backend.vision.cut_out import seen_about
from backend.vision.likeness import F64Array
from backend.vision.outlines import ERROR, MASK_SIDE, MOST_POINTS, filled, outline, polygon_of
from tests.vision.conftest import as_picture, drawn_picture
from tests.vision.test_anchored import OBJECT, cells_of

BOX = np.array(OBJECT, np.float32)


def disc(size_hw: tuple[int, int] = (120, 160), radius: float = 30.0) -> BoolArray:
    y, x = np.indices(size_hw) + 0.5
    return np.asarray(np.hypot(x - 80, y - 60) < radius)


def iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / (one | other).sum())


def painted(polygon_px: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    mask = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(mask, [np.round(polygon_px * 16 - 8).astype(np.int32)], 1, shift=4)
    return mask.astype(bool)


def test_the_mask_is_the_disc() -> None:
    picture = drawn_picture()
    found = outline(picture, cells_of(OBJECT), BOX)
    assert iou(found, picture.rgb_u8[..., 0] > 150) > 0.9


def test_a_form_decides_what_colours_do_not() -> None:
    """On noise of one kind nothing but the form tells the left half from the right one."""
    noise = np.random.default_rng(0).integers(90, 110, (120, 160, 3)).astype(np.uint8)
    seen: list[F64Array] = []

    def left_half(cells_chw: FloatArray, values_hw: FloatArray, box: F64Array) -> FloatArray:
        assert cells_chw.shape[1:] == values_hw.shape
        seen.append(box)
        window, steps = seen_about(box), (np.arange(16) + 0.5) / 16
        x = window[0] + steps * (window[2] - window[0])
        inside = (x > box[0]) & (x < (box[0] + box[2]) / 2)
        return np.where(inside, 0.99, 0.01)[None].repeat(16, 0).astype(np.float32)

    mask = outline(as_picture(noise), cells_of(OBJECT), BOX, left_half)
    (box,) = seen
    np.testing.assert_allclose(box, BOX / (160, 120, 160, 120))
    assert mask[30:90, 52:78].mean() > 0.9
    assert mask[30:90, 84:110].mean() < 0.1


def test_the_map_may_be_known_already() -> None:
    picture, cells = drawn_picture(), cells_of(OBJECT)
    given = np.zeros((20, 20), np.float32)
    given[:, 10:] = 1  # the right half of the disc
    right = outline(picture, cells, BOX, None, given)
    assert right[:, 80:].sum() > 3 * right[:, :80].sum()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (3, 2)], ids=str)
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5), (0.9, 0.0, 1.0, 0.1)])
def test_any_box_on_any_picture(
    size_hw: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    picture = as_picture(np.full((*size_hw, 3), 90, np.uint8))
    scale = np.array([size_hw[1], size_hw[0]] * 2)
    mask = outline(picture, cells_of(OBJECT), (np.array(box) * scale).astype(np.float32))
    assert mask.shape == size_hw
    assert mask.any()


def test_a_picture_decoded_smaller_is_cut_at_its_own_size() -> None:
    small = drawn_picture()
    large = Picture(small.rgb_u8, (240, 320), "twice as large")
    mask = outline(large, cells_of(OBJECT), 2 * BOX)
    assert mask.shape == (120, 160)
    assert iou(mask, outline(small, cells_of(OBJECT), BOX)) == 1


def test_a_polygon_keeps_within_the_stated_error() -> None:
    mask = disc()
    found = polygon_of(mask, (120, 160))
    assert found is not None
    assert 8 <= len(found) <= 40
    assert iou(painted(found, (120, 160)), mask) > 0.97
    # Every pixel of the border lies within the error, and a pixel for its own size.
    border = max(cv2.findContours(mask.astype(np.uint8), 0, 1)[0], key=len)[:, 0] + 0.5
    away = [
        abs(cv2.pointPolygonTest(found, (float(x), float(y)), True)) for x, y in border.tolist()
    ]
    assert max(away) <= ERROR * np.hypot(60, 60) + 1


def test_a_square_has_four_corners_in_pixels_of_the_original() -> None:
    mask = np.zeros((50, 100), bool)
    mask[10:30, 20:60] = True
    found = polygon_of(mask, (100, 200))
    assert found is not None
    assert sorted(map(tuple, np.round(found).tolist())) == [
        (40.0, 20.0), (40.0, 60.0), (120.0, 20.0), (120.0, 60.0)
    ]  # fmt: skip


def test_the_largest_part_counts_and_holes_are_filled() -> None:
    mask = disc(radius=30) & ~disc(radius=10)
    mask[0:4, 0:4] = True
    found = polygon_of(mask, (120, 160))
    assert found is not None
    assert iou(painted(found, (120, 160)), disc(radius=30)) > 0.97


def test_points_are_bounded() -> None:
    comb = np.zeros((400, 400), bool)
    comb[:20] = True
    comb[:, ::4] = True
    found = polygon_of(comb, (400, 400))
    assert found is not None
    assert 3 <= len(found) <= MOST_POINTS


@pytest.mark.parametrize(
    "place", [np.s_[3:4, 3:4], np.s_[3:4, 0:10], np.s_[0:10, 3:4]], ids=["pixel", "row", "column"]
)
def test_the_thinnest_masks_have_an_area(place: tuple[slice, slice]) -> None:
    mask = np.zeros((10, 10), bool)
    mask[place] = True
    found = polygon_of(mask, (10, 10))
    assert found is not None
    assert len(found) >= 3
    assert cv2.contourArea(found) > 0


def test_an_empty_mask_has_no_polygon() -> None:
    assert polygon_of(np.zeros((5, 5), bool), (5, 5)) is None


@pytest.mark.parametrize("size_hw", [(120, 160), (480, 640), (3000, 4000)], ids=str)
def test_what_is_filled_is_the_polygon(size_hw: tuple[int, int]) -> None:
    scale = size_hw[0] / 120
    polygon = polygon_of(disc(), size_hw)
    assert polygon is not None
    mask = filled(polygon, size_hw)
    assert max(mask.shape) == min(MASK_SIDE, max(size_hw))
    assert mask.mean() == pytest.approx(np.pi * 30**2 / (120 * 160), rel=0.05)
    y, x = np.nonzero(mask)
    assert (x.mean() + 0.5) / mask.shape[1] == pytest.approx(80 / 160, abs=0.01), scale
    assert (y.mean() + 0.5) / mask.shape[0] == pytest.approx(0.5, abs=0.01)

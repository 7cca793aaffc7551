"""Shapes of regions, written and read again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labelstudio.brush_rle import encode_mask
from backend.labelstudio.labelspec import Shape
from backend.labelstudio.shapes import MASK_PIXELS, MASK_SIDE, read_shape, write_shape

SIZE_HW = (100, 200)
BOX = np.array([20, 10, 60, 50], np.float32)


def written(shape: Shape, *more: Any) -> dict[str, Any]:
    value = write_shape(shape, BOX, SIZE_HW, *more)
    assert value is not None
    return value


def test_what_is_written_by_hand() -> None:
    assert written("rectangle") == {"x": 10, "y": 10, "width": 20, "height": 40, "rotation": 0}
    ellipse = {"x": 20, "y": 30, "radiusX": 10, "radiusY": 20, "rotation": 0}
    assert written("ellipse") == ellipse
    corners = [[10, 10], [30, 10], [30, 50], [10, 50]]
    assert written("polygon") == {"points": corners, "closed": True}
    triangle = np.array([[20, 10], [250, 10], [40, -5]], np.float32)
    assert written("polygon", triangle)["points"] == [[10, 10], [100, 10], [20, 0]]
    few = np.array([[1, 1], [2, 2]], np.float32)
    assert written("polygon", few)["points"] == corners
    mask = np.zeros(SIZE_HW, bool)
    mask[10:50, 20:60] = True
    assert written("brush") == {"format": "rle", "rle": encode_mask(mask)}
    half = np.zeros((2, 2), bool)
    half[:, 0] = True
    left = np.zeros(SIZE_HW, bool)
    left[:, :100] = True
    assert written("brush", None, half) == {"format": "rle", "rle": encode_mask(left)}


@pytest.mark.parametrize("shape", ["rectangle", "ellipse", "polygon", "brush"])
def test_nothing_in_the_picture_is_no_region(shape: Shape) -> None:
    for box in ([5, 5, 5, 50], [-9, 0, -1, 50], [200, 0, 300, 50], [math.nan] * 4):
        assert write_shape(shape, np.array(box, np.float32), SIZE_HW) is None


@given(st.data())
def test_hulls_come_back(data: Any) -> None:
    height, width = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 3000))
    share = st.floats(0, 1, width=32)
    (x0, x1), (y0, y1) = (sorted((data.draw(share), data.draw(share))) for _ in "xy")
    box = np.array([x0 * width, y0 * height, x1 * width, y1 * height], np.float32)
    for shape in ("rectangle", "ellipse", "polygon"):
        value = write_shape(shape, box, (height, width))
        if value is None:
            assert box[0] >= box[2] or box[1] >= box[3]
            continue
        drawn = read_shape(shape, value, (height, width))
        if drawn is None:  # a polygon of a millionth of a percent
            assert shape != "rectangle"
            assert min(box[2:] - box[:2]) < 1e-2
            continue
        np.testing.assert_allclose(drawn.xyxy_px, box, atol=2e-5 * max(height, width) + 1e-4)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_masks_come_back(height: int, width: int, data: Any) -> None:
    seed = data.draw(st.integers(0, 1000))
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    box = np.array([0, 0, width, height], np.float32)
    value = write_shape("brush", box, (height, width), None, mask)
    drawn = read_shape("brush", value or {}, (height, width))
    if not mask.any():
        assert drawn is None
        return
    assert drawn is not None
    assert drawn.mask_hw is not None
    assert (drawn.mask_hw == mask).all()
    y, x = np.nonzero(mask)
    assert drawn.xyxy_px == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_a_large_mask_is_kept_small_and_its_hull_exact() -> None:
    mask = np.zeros((900, 1200), bool)
    mask[101:700, 303:1001] = True
    value = {"format": "rle", "rle": encode_mask(mask)}
    drawn = read_shape("brush", value, (900, 1200))
    assert drawn is not None
    assert drawn.mask_hw is not None
    assert drawn.xyxy_px == (303, 101, 1001, 700)
    assert drawn.mask_hw.shape == (MASK_SIDE * 3 // 4, MASK_SIDE)
    assert drawn.mask_hw.mean() == pytest.approx(mask.mean(), rel=0.02)


def test_a_turned_ellipse_is_turned_in_pixels() -> None:
    """A quarter turn swaps the radii in pixels, not in percent."""
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90}
    drawn = read_shape("ellipse", value, SIZE_HW)  # 40 and 10 pixels
    assert drawn is not None
    np.testing.assert_allclose(drawn.xyxy_px, (90, 10, 110, 90), atol=0.5)
    upright = read_shape("ellipse", {**value, "rotation": 0}, SIZE_HW)
    assert upright is not None
    np.testing.assert_allclose(upright.xyxy_px, (60, 40, 140, 60), atol=0.5)
    # At 45 degrees both sides of the hull are sqrt((40^2 + 10^2) / 2) from the middle.
    slanted = read_shape("ellipse", {**value, "rotation": 45}, SIZE_HW)
    assert slanted is not None
    half = math.sqrt((40**2 + 10**2) / 2)
    np.testing.assert_allclose(
        slanted.xyxy_px, (100 - half, 50 - half, 100 + half, 50 + half), atol=0.5
    )
    assert slanted.polygon_px is not None


def test_a_turned_rectangle_has_the_hull_of_its_corners() -> None:
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}
    drawn = read_shape("rectangle", value, SIZE_HW)  # 20 by 10 pixels, about its corner
    assert drawn is not None
    np.testing.assert_allclose(drawn.xyxy_px, (90, 50, 100, 70), atol=1e-6)


def test_a_key_point_is_a_place() -> None:
    drawn = read_shape("keypoint", {"x": 50, "y": 10, "width": 3}, SIZE_HW)
    assert drawn is not None
    assert drawn.xyxy_px == (100, 10, 100, 10)


HOSTILE: dict[str, tuple[Shape, dict[str, Any]]] = {
    "no points": ("polygon", {"points": []}),
    "two points": ("polygon", {"points": [[1, 1], [2, 2]]}),
    "points that are texts": ("polygon", {"points": ["ab", "cd", "ef"]}),
    "points of three": ("polygon", {"points": [[1, 1, 1]] * 3}),
    "no numbers": ("polygon", {"points": [[1, None], [2, 2], [3, 3]]}),
    "infinities": ("polygon", {"points": [[math.inf, 1], [2, 2], [3, 9]]}),
    "a line": ("polygon", {"points": [[1, 1], [2, 1], [3, 1]]}),
    "outside": ("polygon", {"points": [[101, 1], [120, 1], [110, 9]]}),
    "points as a text": ("polygon", {"points": "[[1,1],[2,2],[3,3]]"}),
    "an ellipse of texts": ("ellipse", {"x": "1", "y": 1, "radiusX": 1, "radiusY": 1}),
    "an ellipse without a radius": ("ellipse", {"x": 1, "y": 1, "radiusX": 1}),
    "an ellipse without area": ("ellipse", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1}),
    "NaN": ("ellipse", {"x": math.nan, "y": 1, "radiusX": 1, "radiusY": 1}),
    "a key point outside": ("keypoint", {"x": 101, "y": 1}),
    "a key point of booleans": ("keypoint", {"x": True, "y": 1}),
    "no rle": ("brush", {"format": "rle"}),
    "rle as a text": ("brush", {"rle": "0,0"}),
    "rle of huge numbers": ("brush", {"rle": [10**30] * 9}),
    "rle of lists": ("brush", {"rle": [[0], [0]]}),
    "rle that is cut": ("brush", {"rle": [0, 1, 56, 128]}),
    "nothing painted": ("brush", {"rle": encode_mask(np.zeros(SIZE_HW, bool))}),
    "a rectangle without height": ("rectangle", {"x": 1, "y": 1, "width": 1}),
    "a shape that is not of pictures": ("videorectangle", {"x": 1, "y": 1, "width": 1}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_read_is_no_shape(name: str) -> None:
    shape, value = HOSTILE[name]
    assert read_shape(shape, value, SIZE_HW) is None


def test_a_picture_too_large_to_unpack() -> None:
    side = math.isqrt(MASK_PIXELS) + 1
    packed = [*(4 * side * side % 2**32).to_bytes(4, "big"), 57, 27, 254]
    assert read_shape("brush", {"rle": packed}, (side, side)) is None


def test_a_polygon_beyond_the_picture_is_cut_to_it() -> None:
    value = {"points": [[-50, 10], [50, 10], [50, 400]], "closed": True}
    drawn = read_shape("polygon", value, SIZE_HW)
    assert drawn is not None
    assert drawn.xyxy_px == (0, 10, 100, 100)
    assert drawn.polygon_px is not None
    assert drawn.polygon_px.tolist() == [[0, 10], [100, 10], [100, 100]]

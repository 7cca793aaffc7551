"""The shapes of a picture's regions, between pixels inside and Label Studio's percent outside.

A rectangle is told by its corner, an ellipse and a key point by their centre, a polygon by
its points, what was painted by a packed mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain import BoolArray, FloatArray
from backend.labelstudio.brush_rle import decode_mask, encode_mask
from backend.labelstudio.labelspec import Shape
from backend.labelstudio.numbers import finite_number
from backend.labelstudio.percent import xyxy_px_to_percent

POINT_WIDTH = 0.75
"""Of a key point, in percent of the picture's width."""

MASK_PIXELS = 100_000_000
"""Largest painted picture that is unpacked."""

MASK_SIDE = 160
"""Cells along the longer side of what was painted, as it is kept: a training reads the masks of
a whole project."""

_DIGITS = 6
_ELLIPSE_POINTS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What an annotator drew. xyxy_px: its hull inside the picture; of a key point the place
    itself, twice. polygon_px: (N, 2) x y, of a polygon or an ellipse. mask_hw: (h, w) over the
    whole picture, of what was painted, at most ``MASK_SIDE`` long.
    """

    xyxy_px: tuple[float, float, float, float]
    polygon_px: FloatArray | None = None
    mask_hw: BoolArray | None = None


def write_shape(
    shape: Shape,
    xyxy_px: FloatArray,
    size_hw: tuple[int, int],
    polygon_px: FloatArray | None = None,
    mask_hw: BoolArray | None = None,
) -> dict[str, Any] | None:
    """The value of a region without its labels; None where nothing of it is in the picture.

    shape: no key point, see ``write_point``. xyxy_px: (4,) of the thing. polygon_px: (N, 2),
    for a polygon; the corners of the box where there is none. mask_hw: (h, w) over the whole
    picture, for a brush; the box where there is none.
    """
    percent = xyxy_px_to_percent([float(edge) for edge in xyxy_px], size_hw)
    if percent is None:
        return None
    x, y, width, height = (percent[key] for key in ("x", "y", "width", "height"))
    if shape == "rectangle":
        return {**percent, "rotation": 0}
    if shape == "ellipse":
        return {
            "x": x + width / 2,
            "y": y + height / 2,
            "radiusX": width / 2,
            "radiusY": height / 2,
            "rotation": 0,
        }
    if shape == "polygon":
        return {"points": _points(polygon_px, xyxy_px, size_hw), "closed": True}
    painted = _box_mask(xyxy_px, size_hw) if mask_hw is None else resampled(mask_hw, size_hw)
    return {"format": "rle", "rle": encode_mask(painted)}


def write_point(xy_px: FloatArray, size_hw: tuple[int, int]) -> dict[str, Any]:
    """The value of a key point (2,) without its labels, inside the picture."""
    height, width = size_hw
    share = np.clip(xy_px.astype(np.float64) / (width, height), 0, 1)
    x, y = (round(100 * part, _DIGITS) for part in share.tolist())
    return {"x": x, "y": y, "width": POINT_WIDTH}


def read_shape(shape: Shape, value: Mapping[str, Any], size_hw: tuple[int, int]) -> Drawn | None:
    """What a region's value tells; None where it cannot be read or lies outside the picture."""
    if shape == "brush":
        return _read_brush(value, size_hw)
    if shape == "polygon":
        return _of_polygon(_read_points(value.get("points"), size_hw), size_hw)
    if shape == "ellipse":
        return _of_polygon(_read_ellipse(value, size_hw), size_hw)
    if shape == "keypoint":
        return _read_key_point(value, size_hw)
    return _read_rectangle(value, size_hw) if shape == "rectangle" else None


def resampled(mask_hw: BoolArray, size_hw: tuple[int, int]) -> BoolArray:
    """The mask on the pixels of size_hw over the same picture, each as the nearest cell is."""
    rows, columns = (
        np.minimum((np.arange(wanted) + 0.5) * have / wanted, have - 1).astype(np.int64)
        for wanted, have in zip(size_hw, mask_hw.shape, strict=True)
    )
    return np.asarray(mask_hw[rows[:, None], columns[None]])


def _points(
    polygon_px: FloatArray | None, xyxy_px: FloatArray, size_hw: tuple[int, int]
) -> list[list[float]]:
    height, width = size_hw
    if polygon_px is None or len(polygon_px) < 3:
        x0, y0, x1, y1 = xyxy_px.tolist()
        polygon_px = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    share = np.clip(polygon_px.astype(np.float64) / (width, height), 0, 1)
    return [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in (100 * share).tolist()]


def _box_mask(xyxy_px: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    mask = np.zeros(size_hw, np.bool_)
    x0, y0 = np.floor(np.maximum(xyxy_px[:2], 0)).astype(int)
    x1, y1 = np.ceil(np.maximum(xyxy_px[2:], 0)).astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


def _read_brush(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Drawn | None:
    rle = value.get("rle")
    if not isinstance(rle, list) or size_hw[0] * size_hw[1] > MASK_PIXELS:
        return None
    try:
        mask_hw = decode_mask(rle, size_hw)
    except (ValueError, OverflowError):
        return None
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    if not len(rows):
        return None
    hull = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    scale = min(1.0, MASK_SIDE / max(size_hw))
    kept = resampled(
        mask_hw, (max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale)))
    )
    return Drawn((float(hull[0]), float(hull[1]), float(hull[2]), float(hull[3])), None, kept)


def _read_points(points: Any, size_hw: tuple[int, int]) -> FloatArray | None:
    if not isinstance(points, list) or len(points) < 3:
        return None
    found = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            return None
        x, y = (finite_number(edge) for edge in point)
        if x is None or y is None:
            return None
        found.append((x / 100 * size_hw[1], y / 100 * size_hw[0]))
    return np.array(found, np.float32)


def _read_ellipse(value: Mapping[str, Any], size_hw: tuple[int, int]) -> FloatArray | None:
    """Points on its edge: in pixels, as a turn in percent would shear it."""
    height, width = size_hw
    numbers = [finite_number(value.get(key)) for key in ("x", "y", "radiusX", "radiusY")]
    if any(number is None for number in numbers):
        return None
    x, y, radius_x, radius_y = (number or 0.0 for number in numbers)
    turn = math.radians(finite_number(value.get("rotation")) or 0.0)
    angle = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
    along, across = radius_x / 100 * width * np.cos(angle), radius_y / 100 * height * np.sin(angle)
    return np.stack(
        [
            x / 100 * width + along * math.cos(turn) - across * math.sin(turn),
            y / 100 * height + along * math.sin(turn) + across * math.cos(turn),
        ],
        1,
    ).astype(np.float32)


def _of_polygon(polygon_px: FloatArray | None, size_hw: tuple[int, int]) -> Drawn | None:
    if polygon_px is None:
        return None
    limit = np.array([size_hw[1], size_hw[0]], np.float32)
    inside = np.clip(polygon_px, 0, limit)
    (x0, y0), (x1, y1) = inside.min(0).tolist(), inside.max(0).tolist()
    return Drawn((x0, y0, x1, y1), inside) if x0 < x1 and y0 < y1 else None


def _read_key_point(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Drawn | None:
    x, y = finite_number(value.get("x")), finite_number(value.get("y"))
    if x is None or y is None or not (0 <= x <= 100 and 0 <= y <= 100):
        return None
    place = (x / 100 * size_hw[1], y / 100 * size_hw[0])
    return Drawn((*place, *place))


def _read_rectangle(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Drawn | None:
    height, width = size_hw
    numbers = [finite_number(value.get(key)) for key in ("x", "y", "width", "height")]
    if any(number is None for number in numbers):
        return None
    x, y, w, h = (number or 0.0 for number in numbers)
    hull = _turned_hull(
        x / 100 * width,
        y / 100 * height,
        w / 100 * width,
        h / 100 * height,
        finite_number(value.get("rotation")) or 0.0,
    )
    x0, x1 = (min(max(edge, 0.0), float(width)) for edge in (hull[0], hull[2]))
    y0, y1 = (min(max(edge, 0.0), float(height)) for edge in (hull[1], hull[3]))
    return Drawn((x0, y0, x1, y1)) if x0 < x1 and y0 < y1 else None


def _turned_hull(
    x_px: float, y_px: float, width_px: float, height_px: float, degrees: float
) -> tuple[float, float, float, float]:
    """Axis-aligned hull of a rectangle turned clockwise about its top-left corner.

    In pixels, never percent: a turn in percent of an oblong picture would shear it.
    """
    if degrees % 360 == 0:
        return x_px, y_px, x_px + width_px, y_px + height_px
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(0.0, 0.0), (width_px, 0.0), (0.0, height_px), (width_px, height_px)]
    # y points down, so the usual matrix turns clockwise.
    xs = [x_px + dx * cos - dy * sin for dx, dy in corners]
    ys = [y_px + dx * sin + dy * cos for dx, dy in corners]
    return min(xs), min(ys), max(xs), max(ys)

"""Rectangles between pixels inside and Label Studio's percent outside.

Percent exists only in this room: x and y of the top-left corner, width, height in percent
of the picture, rotation in degrees clockwise about that corner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain import UNNAMED, Boxes
from backend.labelstudio.labelspec import Control, LabelSpec

_STEPS = 1_000_000
"""Steps in one percent: a pixel of a picture 20 000 wide has 5 000 of them."""
_FULL = 100 * _STEPS


def xyxy_px_to_percent(
    xyxy_px: Sequence[float], size_hw: tuple[int, int]
) -> dict[str, float] | None:
    """``x, y, width, height`` in percent, inside the picture; None for a box without area.

    xyxy_px: four corners in pixels, clamped to the picture of size_hw. The result holds
    ``x + width <= 100`` and ``width > 0`` in floating point, as it will be read.
    """
    height, width = size_hw
    x = _interval(xyxy_px[0], xyxy_px[2], width)
    y = _interval(xyxy_px[1], xyxy_px[3], height)
    if x is None or y is None:
        return None
    return {"x": x[0], "y": y[0], "width": x[1], "height": y[1]}


def _interval(low_px: float, high_px: float, size_px: int) -> tuple[float, float] | None:
    """Start and length in percent of the part of [low, high) inside [0, size)."""
    if not low_px < high_px:  # NaN compares false
        return None
    low_px, high_px = max(low_px, 0.0), min(high_px, float(size_px))
    if low_px >= high_px:
        return None
    start = min(round(low_px / size_px * _FULL), _FULL - 1)
    end = max(round(high_px / size_px * _FULL), start + 1)
    # Whole steps that add up to 100 do so in floats as well: the two errors together are
    # at most half of 100's last bit, and such a tie rounds to the even 100.
    return start / _STEPS, (end - start) / _STEPS


@dataclass(frozen=True, slots=True)
class ReadRegion:
    """One rectangle of an annotation or prediction, in pixels.

    id: the region's own id; where it equals one we sent, it is that box, accepted or
    corrected. control: name of the control whose label it carries. item_index: the picture
    of a valueList, 0 for a single one. xyxy_px: hull of the (rotated) rectangle inside the
    picture. label: its first label, ``UNNAMED`` without one. score, origin: as found.
    """

    id: str
    control: str
    item_index: int
    xyxy_px: tuple[float, float, float, float]
    size_hw: tuple[int, int]
    label: str
    score: float | None
    origin: str


def read_regions(
    result: Any, spec: LabelSpec, *, size_hw: tuple[int, int] | None = None
) -> list[ReadRegion]:
    """Rectangles of a Label Studio ``result``, in its order; all else is left out.

    size_hw: size of the picture for regions that came without ``original_width`` and
    ``original_height``; without it those are left out. So are regions of a picture the
    annotator had turned (``image_rotation``), whose percents refer to the turned picture.
    """
    regions = [r for r in result if isinstance(r, Mapping)] if isinstance(result, list) else []
    found: list[ReadRegion] = []
    for control in spec.controls:
        if control.kind == "rectanglelabels":
            found += _read(regions, control, size_hw)
    found += _read_pairs(regions, spec, size_hw)
    order = {_text(region.get("id")): at for at, region in reversed(list(enumerate(regions)))}
    return sorted(found, key=lambda region: order[region.id])


def boxes_of(
    regions: Iterable[ReadRegion], size_hw: tuple[int, int], *, control: str, item_index: int = 0
) -> Boxes:
    """The regions of one control on one picture; a missing score counts as certain (1)."""
    kept = [r for r in regions if r.control == control and r.item_index == item_index]
    if not kept:
        return Boxes.empty(size_hw)
    height, width = size_hw
    xyxy = np.array([region.xyxy_px for region in kept], np.float32)
    return Boxes(
        np.minimum(xyxy, np.array([width, height, width, height], np.float32)),
        np.array([1.0 if r.score is None else r.score for r in kept], np.float32),
        tuple(region.label for region in kept),
        size_hw,
    )


def _read(
    regions: Iterable[Mapping[str, Any]], control: Control, size_hw: tuple[int, int] | None
) -> list[ReadRegion]:
    mine = [
        region
        for region in regions
        if region.get("from_name") == control.name and region.get("type") == "rectanglelabels"
    ]
    read = (_region(region, control, _label(region, "rectanglelabels"), size_hw) for region in mine)
    return [region for region in read if region is not None]


def _read_pairs(
    regions: Sequence[Mapping[str, Any]], spec: LabelSpec, size_hw: tuple[int, int] | None
) -> list[ReadRegion]:
    """Rectangles joined with their labels by id; unlabelled ones go to the first such control."""
    pairs = [control for control in spec.controls if control.kind == "rectangle+labels"]
    geometry = {control.geometry_name for control in pairs}
    rectangles = {
        _text(region.get("id")): region
        for region in regions
        if region.get("type") == "rectangle" and region.get("from_name") in geometry
    }
    found: list[ReadRegion | None] = []
    labelled: set[str] = set()
    for control in pairs:
        for region in regions:
            if region.get("type") != "labels" or region.get("from_name") != control.name:
                continue
            region_id = _text(region.get("id"))
            # Labels repeat the geometry; after a correction the rectangle is the newer one.
            source = rectangles.get(region_id, region)
            found.append(_region(source, control, _label(region, "labels"), size_hw))
            labelled.add(region_id)
    for region_id, region in rectangles.items():
        if region_id not in labelled:
            owner = next(c for c in pairs if c.geometry_name == region.get("from_name"))
            found.append(_region(region, owner, UNNAMED, size_hw))
    return [region for region in found if region is not None]


def _region(
    region: Mapping[str, Any], control: Control, label: str, size_hw: tuple[int, int] | None
) -> ReadRegion | None:
    value = region.get("value")
    size = original_size(region) or size_hw
    if (
        size is None
        or not isinstance(value, Mapping)
        or finite_number(region.get("image_rotation"))
    ):
        return None
    height, width = size
    numbers = [finite_number(value.get(key)) for key in ("x", "y", "width", "height")]
    if any(number is None for number in numbers):
        return None
    x, y, w, h = (number or 0.0 for number in numbers)
    hull = _hull(
        x / 100 * width,
        y / 100 * height,
        w / 100 * width,
        h / 100 * height,
        finite_number(value.get("rotation")) or 0.0,
    )
    x0, x1 = (min(max(edge, 0.0), float(width)) for edge in (hull[0], hull[2]))
    y0, y1 = (min(max(edge, 0.0), float(height)) for edge in (hull[1], hull[3]))
    if x1 <= x0 or y1 <= y0:
        return None
    item_index = region.get("item_index")
    score = finite_number(region.get("score"))
    return ReadRegion(
        id=_text(region.get("id")),
        control=control.name,
        item_index=item_index if isinstance(item_index, int) and item_index > 0 else 0,
        xyxy_px=(x0, y0, x1, y1),
        size_hw=size,
        label=label,
        score=None if score is None else min(max(score, 0.0), 1.0),
        origin=_text(region.get("origin")),
    )


def _hull(
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


def original_size(region: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width in pixels of the picture that a region says it was drawn on."""
    height, width = (finite_number(region.get(f"original_{side}")) for side in ("height", "width"))
    if height is None or width is None or min(height, width) < 1:
        return None
    return int(height), int(width)


def _label(region: Mapping[str, Any], key: str) -> str:
    value = region.get("value")
    labels = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(labels, list) and labels and isinstance(labels[0], str):
        return labels[0]
    return UNNAMED


def finite_number(value: Any) -> float | None:
    """A finite number; Label Studio stores what it gets, numeric texts and NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

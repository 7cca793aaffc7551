"""Regions of annotations and predictions, read into pixels.

Percent exists only in this room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.domain import UNNAMED, Boxes
from backend.labelstudio.labelspec import Control, LabelSpec
from backend.labelstudio.numbers import finite_number
from backend.labelstudio.shapes import Drawn, read_shape


@dataclass(frozen=True, slots=True)
class ReadRegion:
    """One shape of an annotation or prediction, in pixels.

    id: the region's own id; where it equals one we sent, it is that box, accepted or
    corrected. control: name of the control whose label it carries. item_index: the picture
    of a valueList, 0 for a single one. xyxy_px: hull of the shape inside the picture; a key
    point's has no area. label: its first label, ``UNNAMED`` without one. score, origin: as
    found. drawn: the shape itself.
    """

    id: str
    control: str
    item_index: int
    xyxy_px: tuple[float, float, float, float]
    size_hw: tuple[int, int]
    label: str
    score: float | None
    origin: str
    drawn: Drawn | None = field(default=None, compare=False, repr=False)

    @property
    def is_point(self) -> bool:
        """Whether it is a place without area."""
        return self.xyxy_px[:2] == self.xyxy_px[2:]


def read_regions(
    result: Any, spec: LabelSpec, *, size_hw: tuple[int, int] | None = None
) -> list[ReadRegion]:
    """Shapes of a Label Studio ``result``, in its order; all else is left out.

    size_hw: size of the picture for regions that came without ``original_width`` and
    ``original_height``; without it those are left out. So are regions of a picture the
    annotator had turned (``image_rotation``), whose percents refer to the turned picture.
    """
    regions = [r for r in result if isinstance(r, Mapping)] if isinstance(result, list) else []
    found: list[ReadRegion] = []
    for control in spec.controls:
        if control.draws and control.kind == f"{control.shape}labels":
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
        if region.get("from_name") == control.name and region.get("type") == control.kind
    ]
    read = (_region(region, control, _label(region, control.kind), size_hw) for region in mine)
    return [region for region in read if region is not None]


def _read_pairs(
    regions: Sequence[Mapping[str, Any]], spec: LabelSpec, size_hw: tuple[int, int] | None
) -> list[ReadRegion]:
    """Shapes joined with their labels by id; unlabelled ones go to the first such control."""
    pairs = [control for control in spec.controls if control.paired]
    shape_of = {control.geometry_name: control.shape for control in pairs}
    shapes = {
        _text(region.get("id")): region
        for region in regions
        if _text(region.get("from_name")) in shape_of
        and region.get("type") == shape_of[_text(region.get("from_name"))]
    }
    found: list[ReadRegion | None] = []
    labelled: set[str] = set()
    for control in pairs:
        for region in regions:
            if region.get("type") != "labels" or region.get("from_name") != control.name:
                continue
            region_id = _text(region.get("id"))
            # Labels repeat the geometry; after a correction the shape is the newer one.
            source = shapes.get(region_id, region)
            found.append(_region(source, control, _label(region, "labels"), size_hw))
            labelled.add(region_id)
    for region_id, region in shapes.items():
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
    drawn = read_shape(control.shape, value, size) if control.shape is not None else None
    if drawn is None:
        return None
    item_index = region.get("item_index")
    score = finite_number(region.get("score"))
    return ReadRegion(
        id=_text(region.get("id")),
        control=control.name,
        item_index=item_index if isinstance(item_index, int) and item_index > 0 else 0,
        xyxy_px=drawn.xyxy_px,
        size_hw=size,
        label=label,
        score=None if score is None else min(max(score, 0.0), 1.0),
        origin=_text(region.get("origin")),
        drawn=drawn,
    )


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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

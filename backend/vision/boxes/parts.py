"""Which parts of a map become boxes, the same for every rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray
from backend.vision.boxes.components import component_boxes, contrast
from backend.vision.options import within, yes_no


@dataclass(frozen=True, slots=True)
class PartOptions:
    """parts: most parts that count, 1 is the best alone. together: one box round all of
    them instead of a box each. min_part: least worth of a further part as a share of the
    best one's; worth is the area where a rule says nothing else. min_area: least area of a
    part as a share of the picture. dilation: margin round a box as a share of its sides,
    half of it on either side.
    """

    parts: int = within(1, 1, 100)
    together: bool = yes_no(False)
    min_part: float = within(0.1, 0.0, 1.0)
    min_area: float = within(0.0005, 0.0, 1.0)
    dilation: float = within(0.0, 0.0, 1.0)


def masks_to_boxes(
    masks_nhw: Sequence[BoolArray],
    values_nhw: Sequence[FloatArray],
    sizes_hw: Sequence[tuple[int, int]],
    options: PartOptions,
) -> list[Boxes]:
    """Unnamed boxes round the connected parts of each mask, scored by contrast, best first.

    masks_nhw, values_nhw: (h, w) each, the same grid for all, over pictures of sizes_hw;
    maps are in 0..1.
    """
    found = [_parts(*both, options) for both in zip(masks_nhw, values_nhw, strict=True)]
    grid_hw = values_nhw[0].shape if len(values_nhw) else (1, 1)
    return placed(found, (grid_hw[0], grid_hw[1]), sizes_hw, options)


def joined(xyxy: FloatArray, options: PartOptions) -> FloatArray:
    """(N, 4) boxes as they are, or the one (1, 4) round all of them."""
    if not options.together or len(xyxy) < 2:
        return xyxy
    return np.concatenate([xyxy[:, :2].min(0), xyxy[:, 2:].max(0)])[None]


def placed(
    found: Sequence[tuple[FloatArray, FloatArray]],
    grid_hw: tuple[int, int],
    sizes_hw: Sequence[tuple[int, int]],
    options: PartOptions,
) -> list[Boxes]:
    """Boxes of a grid with their margins on pictures of sizes_hw, best first.

    found: boxes (N, 4) in cells of the grid and scores (N,), of each picture.
    """
    if not found:
        return []
    counts = [len(score) for _, score in found]
    xyxy = np.concatenate([boxes for boxes, _ in found])
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * np.float32(options.dilation / 2)
    grown = np.concatenate([xyxy[:, :2] - margin, xyxy[:, 2:] + margin], 1)
    size_xyxy = np.array(sizes_hw, np.float32)[:, [1, 0, 1, 0]].repeat(counts, 0)
    grid_xyxy = np.array(grid_hw, np.float32)[[1, 0, 1, 0]]
    inside = np.clip(grown * (size_xyxy / grid_xyxy), 0.0, size_xyxy)
    boxes, begin = [], 0
    for count, (_, score), size_hw in zip(counts, found, sizes_hw, strict=True):
        one = Boxes(inside[begin : begin + count], score, (UNNAMED,) * count, size_hw)
        boxes.append(one.best(count))
        begin += count
    return boxes


def _parts(
    mask_hw: BoolArray, values_hw: FloatArray, options: PartOptions
) -> tuple[FloatArray, FloatArray]:
    """Boxes (N, 4) in cells of the parts that count, and their scores (N,)."""
    boxes, areas = component_boxes(mask_hw)
    if not len(boxes):
        return boxes, np.zeros(0, np.float32)
    least = max(options.min_area * mask_hw.size, options.min_part * areas[0])
    kept = joined(boxes[areas >= least][: options.parts], options)
    return kept, np.array([contrast(values_hw, box) for box in kept], np.float32)

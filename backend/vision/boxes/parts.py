"""Which parts of a map become boxes, the same for every rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, clip_xyxy_px
from backend.vision.boxes.components import component_boxes, contrast, scale_boxes
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


def mask_to_boxes(
    mask_hw: BoolArray, values_hw: FloatArray, size_hw: tuple[int, int], options: PartOptions
) -> Boxes:
    """Unnamed boxes round the connected parts of a mask, scored by contrast, best first.

    mask_hw, values_hw: the same grid over a picture of size_hw; the map is in 0..1.
    """
    boxes, areas = component_boxes(mask_hw)
    if not len(boxes):
        return Boxes.empty(size_hw)
    large = (areas >= options.min_area * mask_hw.size) & (areas >= options.min_part * areas[0])
    kept = joined(boxes[large][: options.parts], options)
    scores = np.array([contrast(values_hw, box) for box in kept], np.float32)
    return placed(kept, scores, mask_hw.shape, size_hw, options)


def joined(xyxy: FloatArray, options: PartOptions) -> FloatArray:
    """(N, 4) boxes as they are, or the one (1, 4) round all of them."""
    if not options.together or len(xyxy) < 2:
        return xyxy
    return np.concatenate([xyxy[:, :2].min(0), xyxy[:, 2:].max(0)])[None]


def placed(
    xyxy: FloatArray,
    score: FloatArray,
    grid_hw: tuple[int, ...],
    size_hw: tuple[int, int],
    options: PartOptions,
) -> Boxes:
    """Boxes (N, 4) of a grid with their margins on a picture of size_hw, best first."""
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * np.float32(options.dilation / 2)
    grown = np.concatenate([xyxy[:, :2] - margin, xyxy[:, 2:] + margin], 1)
    scaled = scale_boxes(grown, (grid_hw[0], grid_hw[1]), size_hw)
    found = Boxes(clip_xyxy_px(scaled, size_hw), score, (UNNAMED,) * len(xyxy), size_hw)
    return found.best(len(found))

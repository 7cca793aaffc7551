"""Boxes round what lies above a share of a map's maximum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.domain import UNNAMED, Boxes, FloatArray, Picture, clip_xyxy_px
from backend.vision.boxes.components import component_boxes, contrast, resize_map, scale_boxes
from backend.vision.boxes.registry import box_rule
from backend.vision.options import read_options, within

_GRID = 160
"""Side of the grid on which a coarse map is cut: one part in 160 is finer than any map."""


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """threshold: share of the map's maximum. parts: most boxes, 1 is the largest alone.

    min_part: least area of a further part as a share of the largest one.
    min_area: least area of the largest part as a share of the picture.
    """

    threshold: float = within(0.3, 0.01, 1.0)
    parts: int = within(1, 1, 100)
    min_part: float = within(0.1, 0.0, 1.0)
    min_area: float = within(0.0005, 0.0, 1.0)


@box_rule("threshold")
def threshold(values_hw: FloatArray, picture: Picture, options: Mapping[str, str]) -> Boxes:
    """Boxes round connected parts of a map, scored by contrast, best first.

    A map that is zero everywhere has none. Source: Zhou et al. 2016, section 3.2 (cut at
    a share of the maximum, largest connected part). Cost: a tenth of a millisecond.
    """
    chosen = read_options(ThresholdOptions, options)
    if not values_hw.any():
        return Boxes.empty(picture.size_hw)
    fine = resize_map(values_hw, (_GRID, _GRID))
    cut = chosen.threshold * float(fine.max())
    boxes, areas = component_boxes(np.asarray(fine >= cut))
    large = (areas >= chosen.min_area * fine.size) & (areas >= chosen.min_part * areas[0])
    kept = boxes[large][: chosen.parts]
    scores = np.array([contrast(fine, box) for box in kept], np.float32)
    placed = clip_xyxy_px(scale_boxes(kept, (_GRID, _GRID), picture.size_hw), picture.size_hw)
    found = Boxes(placed, scores, (UNNAMED,) * len(kept), picture.size_hw)
    return found.best(chosen.parts)

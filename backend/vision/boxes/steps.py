"""The steps from a map to its boxes, for looking at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, Picture, iou_matrix
from backend.vision.boxes.components import scale_boxes
from backend.vision.boxes.quantile_grabcut import GrabCutOptions, prepared_map, seeds, segment
from backend.vision.boxes.threshold import ThresholdOptions, cut_maps
from backend.vision.options import read_options

_SAME = 0.5
"""IoU from which a box counts as that of a part; a margin makes it larger than the part."""


@dataclass(frozen=True, slots=True)
class Steps:
    """All (h, w) on one grid over the picture.

    sure_hw, ground_hw: seeds, surely object and surely ground. mask_hw: what the rule takes
    for objects. component_hw: the parts of it that have a box.
    """

    sure_hw: BoolArray
    ground_hw: BoolArray
    mask_hw: BoolArray
    component_hw: BoolArray


def steps(
    rule: str, values_hw: FloatArray, picture: Picture, given: Mapping[str, str], found: Boxes
) -> Steps | None:
    """What a rule did on its way to the boxes found; None for one that cuts no mask.

    A map that is zero everywhere has empty steps. Raises: LabelConfigInvalid.
    """
    if rule == "quantile_grabcut":
        options = read_options(GrabCutOptions, given)
        rgb, values = prepared_map(values_hw, picture, options)
        sure, ground = seeds(values, options)
        mask = segment(rgb, values, options)
    elif rule == "threshold":
        # The map alone decides: what it says surely is all there is.
        _, (mask,) = cut_maps([values_hw], read_options(ThresholdOptions, given))
        sure, ground = mask, ~mask
    else:
        return None
    if not values_hw.any():
        nothing = np.zeros(mask.shape, np.bool_)
        return Steps(nothing, nothing, nothing, nothing)
    return Steps(sure, ground, mask, _boxed(mask, found))


def _boxed(mask_hw: BoolArray, found: Boxes) -> BoolArray:
    """The connected parts of a mask that the boxes found are drawn round."""
    count, numbered, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask_hw, np.uint8), connectivity=8
    )
    x, y, width, height = stats[1:count, :4].astype(np.float32).T
    grid_hw = (mask_hw.shape[0], mask_hw.shape[1])
    own = scale_boxes(np.stack([x, y, x + width, y + height], 1), grid_hw, found.size_hw)
    belongs = iou_matrix(own, found.xyxy_px) >= _SAME
    for at in np.flatnonzero(~belongs.any(0)):
        # One box round several parts is that of none of them.
        belongs[:, at] = (own[:, :2] >= found.xyxy_px[at, :2]).all(1) & (
            own[:, 2:] <= found.xyxy_px[at, 2:]
        ).all(1)
    return np.asarray(np.isin(numbered, 1 + np.flatnonzero(belongs.any(1))))

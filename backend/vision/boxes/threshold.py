"""Boxes round what lies above one level of a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, Picture
from backend.vision.boxes.components import resize_map
from backend.vision.boxes.levels import GRID, LEVELS, THRESHOLDS
from backend.vision.boxes.parts import PartOptions, mask_to_boxes
from backend.vision.boxes.registry import box_rule
from backend.vision.options import one_of, read_options, within_or_none


@dataclass(frozen=True, slots=True)
class ThresholdOptions(PartOptions):
    """level: of what the threshold is, a name of LEVELS. threshold: a share of the map's
    maximum (0.3), the share of cells that are to lie below (0.75), or the value itself
    (0.5), as the level says; calibrated takes none.
    """

    level: str = one_of(*LEVELS)
    threshold: float | None = within_or_none(0.01, 1.0)


@box_rule("threshold")
def threshold(values_hw: FloatArray, picture: Picture, options: Mapping[str, str]) -> Boxes:
    """Boxes round connected parts of a map, scored by contrast, best first.

    A map that is zero everywhere has none. Source: Zhou et al. 2016, section 3.2 (cut at
    a share of the maximum, largest connected part); the other levels are ``levels``'.
    Cost: a tenth of a millisecond.
    """
    chosen = read_options(ThresholdOptions, options)
    if not values_hw.any():
        return Boxes.empty(picture.size_hw)
    fine, mask = cut_map(values_hw, chosen)
    return mask_to_boxes(mask, fine, picture.size_hw, chosen)


def cut_map(values_hw: FloatArray, options: ThresholdOptions) -> tuple[FloatArray, BoolArray]:
    """The map on a fine grid (GRID, GRID), and where it reaches its level."""
    fine = resize_map(values_hw, (GRID, GRID))
    given = options.threshold or THRESHOLDS.get(options.level, 0.0)
    cut = LEVELS[options.level](fine, given)
    return fine, np.asarray(fine >= cut)

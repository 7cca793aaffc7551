"""Boxes round what lies above one level of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, Picture
from backend.vision.boxes.components import resize_maps
from backend.vision.boxes.levels import GRID, LEVELS, THRESHOLDS
from backend.vision.boxes.parts import PartOptions, masks_to_boxes
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
def threshold(
    maps: Sequence[FloatArray], pictures: Sequence[Picture], options: Mapping[str, str]
) -> list[Boxes]:
    """Boxes round connected parts of each map, scored by contrast, best first.

    A map that is zero everywhere has none. Source: Zhou et al. 2016, section 3.2 (cut at
    a share of the maximum, largest connected part); the other levels are ``levels``'.
    Cost: .04 ms a map, half of it to find its parts.
    """
    chosen = read_options(ThresholdOptions, options)
    fine, masks = cut_maps(maps, chosen)
    sizes_hw = [picture.size_hw for picture in pictures]
    return masks_to_boxes(list(masks), list(fine), sizes_hw, chosen)


def cut_maps(maps: Sequence[FloatArray], options: ThresholdOptions) -> tuple[FloatArray, BoolArray]:
    """The maps on a fine grid (N, GRID, GRID), and where each reaches its level.

    A map that is zero everywhere reaches none.
    """
    fine = resize_maps(maps, (GRID, GRID))
    given = options.threshold or THRESHOLDS.get(options.level, 0.0)
    level = LEVELS[options.level]
    masks = np.empty(fine.shape, np.bool_)
    for values_hw, grid, mask in zip(maps, fine, masks, strict=True):
        mask[:] = grid >= level(grid, given) if values_hw.any() else False
    return fine, masks

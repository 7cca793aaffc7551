"""What an annotator accepted on one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.domain import BoolArray, Boxes, FloatArray


@dataclass(frozen=True, slots=True)
class Example:
    """One accepted picture.

    picture: names its features, the content hash of its encoded bytes.
    boxes: accepted ones in pixels of the oriented original, labels as Label Studio stores
        them; none where a person found nothing.
    rejected_xyxy_px: (M, 4) predicted boxes that a person deleted.
    choices, numbers: accepted answers by control. drawn_on: False where no box was asked
        for.
    masks_hw: (h, w) of each box over the whole picture at some resolution, None where only
        the box was drawn; empty where all are None.
    points_px, rejected_points_px: (N, 2) x y of accepted key points, and of predicted ones
        that a person deleted, by label; never among the boxes. pointed_on: whether key
        points were asked for, so that a label without one is not in the picture.
    """

    picture: str
    boxes: Boxes
    rejected_xyxy_px: FloatArray
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drawn_on: bool = True
    numbers: Mapping[str, float] = field(default_factory=dict)
    masks_hw: tuple[BoolArray | None, ...] = ()
    points_px: Mapping[str, FloatArray] = field(default_factory=dict)
    rejected_points_px: Mapping[str, FloatArray] = field(default_factory=dict)
    pointed_on: bool = False

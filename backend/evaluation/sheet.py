"""A sheet that shows pictures beside their maps and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import UNNAMED, Boxes, FloatArray, Picture, U8Array

_BOX_RGB = (255, 64, 64)
_PAPER = 255
_GAP_PX = 6


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row: the picture, the map over it, the boxes on it.

    values_hw: (h, w) float32 in 0..1, of any size.
    """

    picture: Picture
    values_hw: FloatArray
    boxes: Boxes


def draw_sheet(rows: Sequence[SheetRow], height_px: int = 240) -> U8Array:
    """(H, W, 3) uint8 RGB: a row of three panels for each, all panels height_px high."""
    drawn = [
        [
            _panel(row.picture.rgb_u8, height_px),
            _panel(overlay(row.picture.rgb_u8, row.values_hw), height_px),
            _with_boxes(row, height_px),
        ]
        for row in rows
    ]
    lines = [_beside(panels) for panels in drawn]
    width = max((line.shape[1] for line in lines), default=1)
    padded = [
        np.pad(line, ((0, _GAP_PX), (0, width - line.shape[1]), (0, 0)), constant_values=_PAPER)
        for line in lines
    ]
    return np.concatenate(padded) if padded else np.full((1, 1, 3), _PAPER, np.uint8)


def overlay(rgb_u8: U8Array, values_hw: FloatArray) -> U8Array:
    """The picture tinted by a map: blue where it is 0, red where it is 1."""
    height, width = rgb_u8.shape[:2]
    fine = cv2.resize(values_hw, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = np.asarray(np.clip(fine, 0, 1) * 255, np.uint8)
    tint = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(rgb_u8, 0.5, tint, 0.5, 0), np.uint8)


def _with_boxes(row: SheetRow, height_px: int) -> U8Array:
    panel = _panel(row.picture.rgb_u8, height_px)
    height, width = row.boxes.size_hw
    scale = np.array([panel.shape[1] / width, panel.shape[0] / height] * 2)
    for box, score, label in zip(row.boxes.xyxy_px, row.boxes.score, row.boxes.label, strict=True):
        x0, y0, x1, y1 = (int(v) for v in np.round(box * scale))
        cv2.rectangle(panel, (x0, y0), (x1 - 1, y1 - 1), _BOX_RGB, 2)
        name = f"{label} {score:.2f}" if label != UNNAMED else f"{score:.2f}"
        at = (x0 + 3, max(14, y0 + 14))
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(panel, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness)
    return panel


def _panel(rgb_u8: U8Array, height_px: int) -> U8Array:
    width_px = max(1, round(rgb_u8.shape[1] * height_px / rgb_u8.shape[0]))
    resized = cv2.resize(rgb_u8, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.array(resized, np.uint8)


def _beside(panels: Sequence[U8Array]) -> U8Array:
    gap = np.full((panels[0].shape[0], _GAP_PX, 3), _PAPER, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)], 1)

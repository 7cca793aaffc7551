"""Maps, masks and boxes drawn over a picture."""

from __future__ import annotations

import cv2
import numpy as np

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, U8Array

BOX_RGB = (255, 64, 64)
_SEED_RGB, _GROUND_RGB = (64, 255, 64), (64, 64, 255)
_DIMMED = 0.25


def png(rgb_u8: U8Array) -> bytes:
    """(H, W, 3) as an encoded PNG."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(rgb_u8[..., ::-1]))[1])


def fitted(rgb_u8: U8Array, height_px: int, width_px: int) -> U8Array:
    """The picture as large as it can be within these sides, its aspect kept."""
    height, width = rgb_u8.shape[:2]
    share = min(height_px / height, width_px / width)
    size_wh = (max(1, round(width * share)), max(1, round(height * share)))
    return np.array(cv2.resize(rgb_u8, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def overlay(rgb_u8: U8Array, values_hw: FloatArray) -> U8Array:
    """The picture tinted by a map in 0..1: blue where it is 0, red where it is 1."""
    height, width = rgb_u8.shape[:2]
    fine = cv2.resize(values_hw, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = np.asarray(np.clip(fine, 0, 1) * 255, np.uint8)
    tint = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(rgb_u8, 0.5, tint, 0.5, 0), np.uint8)


def with_seeds(rgb_u8: U8Array, sure_hw: BoolArray, ground_hw: BoolArray) -> U8Array:
    """The picture with what is surely object in green and surely ground in blue."""
    drawn = rgb_u8.copy()
    for mask_hw, colour in ((sure_hw, _SEED_RGB), (ground_hw, _GROUND_RGB)):
        where = _on(rgb_u8, mask_hw)
        drawn[where] = (drawn[where] * 0.5 + np.array(colour) * 0.5).astype(np.uint8)
    return drawn


def cut_out(rgb_u8: U8Array, mask_hw: BoolArray) -> U8Array:
    """The picture, dimmed outside the mask."""
    outside = ~_on(rgb_u8, mask_hw)
    drawn = rgb_u8.copy()
    drawn[outside] = (drawn[outside] * _DIMMED).astype(np.uint8)
    return drawn


def with_boxes(rgb_u8: U8Array, boxes: Boxes, *, named: bool = True) -> U8Array:
    """The picture, of any size, with the boxes on it, if named with label and score."""
    drawn = rgb_u8.copy()
    height, width = boxes.size_hw
    scale = np.array([drawn.shape[1] / width, drawn.shape[0] / height] * 2)
    for box, score, label in zip(boxes.xyxy_px, boxes.score, boxes.label, strict=True):
        x0, y0, x1, y1 = (int(v) for v in np.round(box * scale))
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), BOX_RGB, 2)
        if named:
            name = f"{label} {score:.2f}" if label != UNNAMED else f"{score:.2f}"
            write(drawn, name, (x0 + 3, max(14, y0 + 14)))
    return drawn


def write(rgb_u8: U8Array, text: str, at_xy: tuple[int, int], outlined: bool = True) -> None:
    """Write a line into the picture, light with a dark edge, or black.

    at_xy: its left end, on the base line. OpenCV has no letters beyond ASCII: others
    become a question mark.
    """
    shown = text.encode("ascii", "replace").decode()
    strokes = (((0, 0, 0), 3), ((255, 255, 255), 1)) if outlined else (((0, 0, 0), 1),)
    for colour, thickness in strokes:
        cv2.putText(
            rgb_u8, shown, at_xy, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA
        )


def _on(rgb_u8: U8Array, mask_hw: BoolArray) -> BoolArray:
    height, width = rgb_u8.shape[:2]
    small = np.asarray(mask_hw, np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.bool_)

"""Drawn people whose parts are known exactly: a pose for key points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import FloatArray, U8Array
from backend.evaluation.drawn import textured_ground

PARTS = (
    "head",
    *(
        f"{side} {part}"
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
"""As plugin_config/label_configs/pose.xml names them; left and right are the person's own."""

_SHARPER = 2
_LIMBS = (
    *(("hip", "knee", 0.085), ("knee", "ankle", 0.07)),
    *(("shoulder", "elbow", 0.065), ("elbow", "wrist", 0.055)),
)
"""Parts that a limb joins, and its width in heights of the person."""


@dataclass(frozen=True, slots=True)
class DrawnPerson:
    """rgb_u8: (H, W, 3). points_px: (1, 2) x y of each part."""

    rgb_u8: U8Array
    points_px: Mapping[str, FloatArray]


def draw_person(seed: int, size_hw: tuple[int, int] = (320, 400)) -> DrawnPerson:
    """A person who faces the viewer, of any size, place, pose and clothes, all parts visible.

    The same arguments draw the same pixels.
    """
    rng = np.random.default_rng(seed)
    canvas = textured_ground(rng, size_hw)
    height, width = size_hw
    large = cv2.resize(canvas, (_SHARPER * width, _SHARPER * height)).astype(np.uint8)
    pose = _pose(rng)
    low, high = pose.min(0), pose.max(0)
    tall = rng.uniform(0.45, 0.8) * height
    margin = 0.06 * tall
    free = np.array([width, height]) - (high - low) * tall - 2 * margin
    at = margin + rng.random(2) * np.maximum(free, 0)
    points_px = ((pose - low) * tall + at).astype(np.float32)
    _paint(large, rng, dict(zip(PARTS, _SHARPER * points_px, strict=True)), _SHARPER * tall)
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    placed = {name: points_px[at : at + 1] for at, name in enumerate(PARTS)}
    return DrawnPerson(np.asarray(small, np.uint8), placed)


def _pose(rng: np.random.Generator) -> np.ndarray:
    """(13, 2) places of the parts in heights of the person, y down, about the pelvis."""
    lean = rng.uniform(-0.25, 0.25)
    up = np.array([np.sin(lean), -np.cos(lean)])
    across = np.array([np.cos(lean), np.sin(lean)])
    found = {"head": 0.43 * up}
    # The person's left is on the viewer's right.
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder, hip = 0.3 * up + sign * 0.12 * across, sign * 0.07 * across
        arm, bend = rng.uniform(0.1, 1.9), rng.uniform(-0.5, 1.2)
        elbow = shoulder + 0.16 * np.array([sign * np.sin(arm), np.cos(arm)])
        wrist = elbow + 0.15 * np.array([sign * np.sin(arm + bend), np.cos(arm + bend)])
        leg, step = rng.uniform(0.0, 0.5), rng.uniform(-0.4, 0.2)
        knee = hip + 0.24 * np.array([sign * np.sin(leg), np.cos(leg)])
        ankle = knee + 0.24 * np.array([sign * np.sin(leg + step), np.cos(leg + step)])
        parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        places = (shoulder, elbow, wrist, hip, knee, ankle)
        found |= {f"{side} {part}": place for part, place in zip(parts, places, strict=True)}
    return np.array([found[name] for name in PARTS])


def _paint(
    canvas: U8Array, rng: np.random.Generator, at: Mapping[str, FloatArray], tall_px: float
) -> None:
    skin = _colour(rng, (8, 20), (60, 140), (120, 230))
    shirt, trousers = (_colour(rng, (0, 180), (90, 220), (60, 220)) for _ in range(2))

    def limb(start: np.ndarray, end: np.ndarray, wide: float, colour: tuple[int, ...]) -> None:
        (x0, y0), (x1, y1) = start.round().astype(int).tolist(), end.round().astype(int).tolist()
        cv2.line(canvas, (x0, y0), (x1, y1), colour, max(2, round(wide * tall_px)), cv2.LINE_AA)

    for side in ("left", "right"):
        for start, end, wide in _LIMBS[:2]:
            limb(at[f"{side} {start}"], at[f"{side} {end}"], wide, trousers)
    corners = [at[name] for name in ("left shoulder", "right shoulder", "right hip", "left hip")]
    cv2.fillPoly(canvas, [np.array(corners).round().astype(np.int32)], shirt, cv2.LINE_AA)
    limb(at["left hip"], at["right hip"], 0.09, shirt)
    limb((at["left shoulder"] + at["right shoulder"]) / 2, at["head"], 0.05, skin)
    for side in ("left", "right"):
        for (start, end, wide), colour in zip(_LIMBS[2:], (shirt, skin), strict=True):
            limb(at[f"{side} {start}"], at[f"{side} {end}"], wide, colour)
    x, y = at["head"].round().astype(int).tolist()
    cv2.ellipse(
        canvas, (x, y), (round(0.055 * tall_px), round(0.075 * tall_px)), 0, 0, 360, skin, -1
    )


def _colour(
    rng: np.random.Generator, hue: tuple[int, int], full: tuple[int, int], light: tuple[int, int]
) -> tuple[int, ...]:
    hsv = np.array([[[rng.integers(*span) for span in (hue, full, light)]]], np.uint8)
    return tuple(int(part) for part in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])

"""A box round the object that GrabCut finds from a map's highest and lowest values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, Picture, U8Array, clip_xyxy_px
from backend.vision.boxes.components import component_boxes, contrast, resize_map, scale_boxes
from backend.vision.boxes.registry import box_rule
from backend.vision.options import read_options, within

_GLARING = 0.99
"""Quantile of the map above which differences do not count."""

_COLOUR_MODELS = 5
"""GrabCut fits this many Gaussians to either side and fails on fewer pixels."""


@dataclass(frozen=True, slots=True)
class GrabCutOptions:
    """foreground, background: quantiles of the map above and below which a pixel is seed.

    probable: share of the way from the lower to the upper quantile's value from which a
    pixel between them is rather object than ground; 1 suits small objects on ground of
    similar colour. smoothing: standard deviation, as a share of the picture's side, of the
    blur before the quantiles are taken. iterations: rounds of GrabCut. side_px: longest
    side at which it works. dilation: margin round the object as a share of its box's
    sides. min_area: least area of the object as a share of the picture.
    """

    foreground: float = within(0.95, 0.5, 0.999)
    background: float = within(0.30, 0.001, 0.5)
    probable: float = within(0.5, 0.0, 1.0)
    smoothing: float = within(0.02, 0.0, 0.2)
    iterations: int = within(3, 1, 20)
    side_px: int = within(224, 32, 1024)
    dilation: float = within(0.0, 0.0, 1.0)
    min_area: float = within(0.0005, 0.0, 1.0)


@box_rule("quantile_grabcut")
def quantile_grabcut(values_hw: FloatArray, picture: Picture, options: Mapping[str, str]) -> Boxes:
    """At most one box, round the largest connected part of the segmented object.

    values_hw: (h, w) in 0..1. The score is the map's contrast between inside and outside.
    Where the seeds are too few or the colours too uniform for GrabCut, the object is what
    the map alone says: everything above the upper quantile. A zero map has no box.
    Source: Simonyan et al. 2013, section 3.2. Differs: the map is limited and smoothed
    first, because gradients are speckled. Deterministic. Cost: some 100 ms at the default side.
    """
    chosen = read_options(GrabCutOptions, options)
    if not values_hw.any():
        return Boxes.empty(picture.size_hw)
    rgb = _bounded(picture.rgb_u8, chosen.side_px)
    size_hw = (rgb.shape[0], rgb.shape[1])
    # A few glaring pixels of a gradient would outweigh all others once smoothed.
    limited = np.minimum(values_hw, np.float32(np.quantile(values_hw, _GLARING)))
    values = _smooth(resize_map(limited, size_hw), chosen.smoothing)
    mask = segment(rgb, values, chosen)
    boxes, areas = component_boxes(mask)
    if not len(boxes) or areas[0] < chosen.min_area * mask.size:
        return Boxes.empty(picture.size_hw)
    score = contrast(_stretched(values), boxes[0])
    grown = _grow(boxes[:1], chosen.dilation)
    placed = clip_xyxy_px(scale_boxes(grown, size_hw, picture.size_hw), picture.size_hw)
    return Boxes(placed, np.array([score], np.float32), (UNNAMED,), picture.size_hw)


def segment(rgb_u8: U8Array, values_hw: FloatArray, options: GrabCutOptions) -> BoolArray:
    """(H, W) where the object is; both inputs have the same height and width."""
    high = float(np.quantile(values_hw, options.foreground))
    low = float(np.quantile(values_hw, options.background))
    sure = np.asarray(values_hw > high) if high < values_hw.max() else np.asarray(values_hw >= high)
    ground = np.asarray(values_hw < low) if low > values_hw.min() else np.asarray(values_hw <= low)
    ground &= ~sure
    if min(int(sure.sum()), int(ground.sum())) < _COLOUR_MODELS:
        return sure
    trimap = np.full(values_hw.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[values_hw >= low + options.probable * (high - low)] = cv2.GC_PR_FGD
    trimap[sure] = cv2.GC_FGD
    trimap[ground] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # GrabCut starts its colour models from random samples
    ground_model, object_model = np.zeros((1, 65)), np.zeros((1, 65))
    no_rectangle = (0, 0, 0, 0)
    try:
        cv2.grabCut(
            rgb_u8,
            trimap,
            no_rectangle,
            ground_model,
            object_model,
            options.iterations,
            cv2.GC_INIT_WITH_MASK,
        )
    except cv2.error:
        # A side of a single colour has no spread for its Gaussians.
        return sure
    found = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return np.asarray(found)


def _bounded(rgb_u8: U8Array, side_px: int) -> U8Array:
    height, width = rgb_u8.shape[:2]
    scale = min(1.0, side_px / max(height, width))
    if scale == 1.0:
        return rgb_u8
    smaller = cv2.resize(
        rgb_u8,
        (max(1, round(width * scale)), max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA,
    )
    return np.asarray(smaller, np.uint8)


def _smooth(values_hw: FloatArray, share: float) -> FloatArray:
    sigma = share * max(values_hw.shape)
    if sigma <= 0:
        return values_hw
    return np.asarray(cv2.GaussianBlur(values_hw, (0, 0), sigma), np.float32)


def _stretched(values_hw: FloatArray) -> FloatArray:
    span = float(values_hw.max() - values_hw.min())
    return (values_hw - values_hw.min()) / span if span > 0 else np.zeros_like(values_hw)


def _grow(xyxy: FloatArray, share: float) -> FloatArray:
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * (share / 2)
    return np.concatenate([xyxy[:, :2] - margin, xyxy[:, 2:] + margin], 1)

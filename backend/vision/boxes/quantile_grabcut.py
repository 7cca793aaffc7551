"""Boxes round the object that GrabCut finds from a map's highest and lowest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, Picture, U8Array
from backend.vision.boxes.components import resize_map
from backend.vision.boxes.parts import PartOptions, masks_to_boxes
from backend.vision.boxes.registry import box_rule
from backend.vision.options import read_options, within

_GLARING = 0.99
"""Quantile of the map above which differences do not count."""

_COLOUR_MODELS = 5
"""GrabCut fits this many Gaussians to either side and fails on fewer pixels."""


@dataclass(frozen=True, slots=True)
class GrabCutOptions(PartOptions):
    """foreground, background: quantiles of the map above and below which a pixel is seed.

    probable: share of the way from the lower to the upper quantile's value from which a
    pixel between them is rather object than ground; 1 suits small objects on ground of
    similar colour. smoothing: standard deviation, as a share of the picture's side, of the
    blur before the quantiles are taken. iterations: rounds of GrabCut. side_px: longest
    side at which it works.
    """

    foreground: float = within(0.95, 0.5, 0.999)
    background: float = within(0.30, 0.001, 0.5)
    probable: float = within(0.5, 0.0, 1.0)
    smoothing: float = within(0.02, 0.0, 0.2)
    iterations: int = within(3, 1, 20)
    side_px: int = within(224, 32, 1024)


@box_rule("quantile_grabcut")
def quantile_grabcut(
    maps: Sequence[FloatArray], pictures: Sequence[Picture], options: Mapping[str, str]
) -> list[Boxes]:
    """Boxes round connected parts of the segmented object, by default the largest.

    maps: (h, w) each, in 0..1. The score is the map's contrast between inside and outside.
    Where the seeds are too few or the colours too uniform for GrabCut, the object is what
    the map alone says: everything above the upper quantile. A zero map has no box.
    Source: Simonyan et al. 2013, section 3.2. Differs: the map is limited and smoothed
    first, because gradients are speckled. Deterministic. Cost: some 100 ms a map at the
    default side.
    """
    chosen = read_options(GrabCutOptions, options)
    return [_boxes(*both, chosen) for both in zip(maps, pictures, strict=True)]


def _boxes(values_hw: FloatArray, picture: Picture, chosen: GrabCutOptions) -> Boxes:
    if not values_hw.any():
        return Boxes.empty(picture.size_hw)
    rgb, values = prepared_map(values_hw, picture, chosen)
    mask = segment(rgb, values, chosen)
    return masks_to_boxes([mask], [_stretched(values)], [picture.size_hw], chosen)[0]


def prepared_map(
    values_hw: FloatArray, picture: Picture, options: GrabCutOptions
) -> tuple[U8Array, FloatArray]:
    """The picture (H, W, 3) as GrabCut sees it, and the map (H, W), limited and smoothed."""
    rgb = bounded(picture.rgb_u8, options.side_px)
    # A few glaring pixels of a gradient would outweigh all others once smoothed.
    limited = np.minimum(values_hw, np.float32(np.quantile(values_hw, _GLARING)))
    return rgb, _smooth(resize_map(limited, (rgb.shape[0], rgb.shape[1])), options.smoothing)


def seeds(values_hw: FloatArray, options: GrabCutOptions) -> tuple[BoolArray, BoolArray]:
    """(H, W) what is surely object and what is surely ground, by the map's quantiles."""
    high = float(np.quantile(values_hw, options.foreground))
    low = float(np.quantile(values_hw, options.background))
    sure = np.asarray(values_hw > high) if high < values_hw.max() else np.asarray(values_hw >= high)
    ground = np.asarray(values_hw < low) if low > values_hw.min() else np.asarray(values_hw <= low)
    return sure, ground & ~sure


def segment(rgb_u8: U8Array, values_hw: FloatArray, options: GrabCutOptions) -> BoolArray:
    """(H, W) where the object is; both inputs have the same height and width."""
    sure, ground = seeds(values_hw, options)
    if min(int(sure.sum()), int(ground.sum())) < _COLOUR_MODELS:
        return sure
    trimap = np.full(values_hw.shape, cv2.GC_PR_BGD, np.uint8)
    low = float(np.quantile(values_hw, options.background))
    high = float(np.quantile(values_hw, options.foreground))
    trimap[values_hw >= low + options.probable * (high - low)] = cv2.GC_PR_FGD
    trimap[sure] = cv2.GC_FGD
    trimap[ground] = cv2.GC_BGD
    found = cut(rgb_u8, trimap, options.iterations)
    return sure if found is None else found


def cut(rgb_u8: U8Array, trimap_hw: U8Array, iterations: int) -> BoolArray | None:
    """(H, W) where the object is, by GrabCut from seeds; None where they do not suffice.

    trimap_hw: (H, W) of GC_BGD, GC_FGD and their probable kinds; it is written to. Too few
    seeds of a side, or a side of a single colour, give no colour model. Deterministic.
    Source: Rother et al. 2004.
    """
    objects = int(((trimap_hw == cv2.GC_FGD) | (trimap_hw == cv2.GC_PR_FGD)).sum())
    if min(objects, trimap_hw.size - objects) < _COLOUR_MODELS:
        return None
    cv2.setRNGSeed(0)  # GrabCut starts its colour models from random samples
    ground_model, object_model = np.zeros((1, 65)), np.zeros((1, 65))
    no_rectangle = (0, 0, 0, 0)
    try:
        cv2.grabCut(
            rgb_u8,
            trimap_hw,
            no_rectangle,
            ground_model,
            object_model,
            iterations,
            cv2.GC_INIT_WITH_MASK,
        )
    except cv2.error:
        # A side of a single colour has no spread for its Gaussians.
        return None
    found = (trimap_hw == cv2.GC_FGD) | (trimap_hw == cv2.GC_PR_FGD)
    return np.asarray(found)


def bounded(rgb_u8: U8Array, side_px: int) -> U8Array:
    """(H, W, 3) shrunk, where it is larger, until its longest side is side_px."""
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

"""MaxBoxAcc: how well maps of a known class localise, at their best threshold."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.domain import FloatArray, Picture, U8Array, iou_matrix
from backend.errors import ConfigError, ImageSetInvalid, MediaUnreadable
from backend.evaluation.distil.photos import PhotoPool, load_boxed_photos
from backend.plots import Series, line_plot
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.boxes.components import component_boxes, resize_map, scale_boxes
from backend.vision.boxes.levels import GRID
from backend.vision.detect import look, prepare
from backend.vision.saliency import Target

CLASS_ACTIVATION = (
    "cam",
    "gradcam",
    "gradcam++",
    "xgradcam",
    "hirescam",
    "layercam",
    "scorecam",
    "ablationcam",
    "eigencam",
)
"""What is measured where no method is named."""

THRESHOLDS = tuple(step / 100 for step in range(100))
"""Shares of a map's maximum."""

HIT_IOU = 0.5
MEASURED_SPLIT = 1
BATCH = 16
_CENTRE_SIGMA = 0.25
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Localised:
    """max_box_acc: share of the photos whose box reaches HIT_IOU, at the threshold best for all.

    curve: the share at each of THRESHOLDS. ms_per_image: look and map, None of no method.
    """

    method: str
    curve: FloatArray
    ms_per_image: float | None

    @property
    def max_box_acc(self) -> float:
        return float(self.curve.max())

    @property
    def threshold(self) -> float:
        return THRESHOLDS[int(self.curve.argmax())]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        ms = None if self.ms_per_image is None else round(self.ms_per_image, _DIGITS)
        return {
            "method": self.method,
            "ms_per_image": ms,
            "max_box_acc": round(self.max_box_acc, _DIGITS),
            "threshold": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class Localisation:
    """centre: what a bump in the middle of every photo reaches. left_out: why, by method."""

    data: str
    pictures: int
    backbone: str
    centre: Localised
    methods: tuple[Localised, ...]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: ``methods`` has one object a method."""
        return {
            "data": self.data,
            "pictures": self.pictures,
            "backbone": self.backbone,
            "methods": [one.as_dict() for one in self.methods],
            "centre": self.centre.as_dict(),
            "left_out": self.left_out,
        }

    def told(self) -> str:
        """A table for people."""
        lines = [
            f"{self.data}: {self.pictures} photos, {self.backbone}",
            f"{'':<24}{'ms_per_image':>14}{'max_box_acc':>14}{'threshold':>14}",
        ]
        for one in (*self.methods, self.centre):
            ms = "" if one.ms_per_image is None else f"{one.ms_per_image:.3f}"
            lines.append(f"{one.method:<24}{ms:>14}{one.max_box_acc:>14.3f}{one.threshold:>14.2f}")
        lines += [f"{name} is left out: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)

    def plot(self) -> str:
        """The share of hits over the threshold as SVG."""
        return line_plot(
            f"{self.data}, {self.backbone}",
            "share of the map's maximum",
            f"share of photos at IoU {HIT_IOU}",
            [
                Series(one.method, tuple(zip(THRESHOLDS, one.curve.tolist(), strict=True)))
                for one in (*self.methods, self.centre)
            ],
        )


def read_boxed_photos(folder: Path) -> PhotoPool:
    """The measuring photos of every npz archive in a folder, as ``load_boxed_photos`` reads them.

    Raises: ImageSetInvalid.
    """
    archives = sorted(folder.glob("*.npz"))
    remedy = (
        "An archive holds data, offsets, imagenet_index, split (1: measured) and box; all "
        "photos are of one size."
    )
    if not archives:
        raise ImageSetInvalid(f"{folder} holds no npz archive.", remedy)
    for archive in archives:
        if not zipfile.is_zipfile(archive):
            raise ImageSetInvalid(f"{archive} is no npz archive.", remedy)
    try:
        return load_boxed_photos(archives, MEASURED_SPLIT)
    except MediaUnreadable as error:
        raise ImageSetInvalid(error.what, remedy) from None
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise ImageSetInvalid(f"{folder} cannot be read: {error}.", remedy) from None


def measure_localisation(
    name: str,
    backbone: Backbone,
    pool: PhotoPool,
    methods: Sequence[str],
    on_step: Callable[[str], None] = lambda told: None,
) -> Localisation:
    """MaxBoxAcc of every method, each photo explained for its true class.

    A box is the one round the largest connected part of a map above a share of its maximum,
    as the rule ``threshold`` draws it. Source: Choe et al. 2020, "Evaluating Weakly
    Supervised Object Localization Methods Right", section 4.1 (MaxBoxAcc, one IoU of 0.5).
    Differs: 100 thresholds instead of 1000.
    Raises: UnknownName before any work, ShapeError for a pool without boxes.
    """
    known = {method: saliency.get(method) for method in methods}
    if pool.box_unit is None:
        raise ImageSetInvalid("The photos have no boxes.", "Add the array box.")
    truth = np.asarray(pool.box_unit.cpu().numpy(), np.float32)
    hits: dict[str, list[FloatArray]] = {method: [] for method in methods}
    ms: dict[str, list[float]] = {method: [] for method in methods}
    left_out: dict[str, str] = {}
    for at in range(0, len(pool), BATCH):
        part = pool.select(torch.arange(at, min(at + BATCH, len(pool))))
        squares_u8 = np.stack([_square(one, backbone.size_px) for one in part.rgb_u8.cpu().numpy()])
        begun_s = time.perf_counter()
        looked = look(backbone, squares_u8)
        look_ms = (time.perf_counter() - begun_s) * 1000
        index = part.class_index[:, None].to(backbone.device)
        target = Target(index, torch.ones_like(index, dtype=torch.float32))
        for method in methods:
            on_step(f"{method}, {at + len(part)} of {len(pool)}")
            if method in left_out:
                continue
            begun_s = time.perf_counter()
            try:
                maps = known[method].draw(looked, target).values_bhw
            except ConfigError as error:
                left_out[method] = str(error)
                continue
            ms[method].append((look_ms + (time.perf_counter() - begun_s) * 1000) / len(part))
            hits[method] += [
                box_hits(values, box)
                for values, box in zip(maps, truth[at : at + len(part)], strict=True)
            ]
    middle = centre_map()
    return Localisation(
        name,
        len(pool),
        backbone.identity.name,
        Localised("centre", np.mean([box_hits(middle, box) for box in truth], 0), None),
        tuple(
            Localised(method, np.mean(hits[method], 0), float(np.median(ms[method])))
            for method in methods
            if method not in left_out
        ),
        left_out,
    )


def box_hits(values_hw: FloatArray, truth_unit: FloatArray) -> FloatArray:
    """(THRESHOLDS,) 1 where the map's box at that threshold reaches HIT_IOU, else 0.

    values_hw: (h, w) in 0..1. truth_unit: (4,) x0 y0 x1 y1 as shares of the sides.
    """
    fine = resize_map(values_hw, (GRID, GRID))
    highest = float(fine.max())
    hits = np.zeros(len(THRESHOLDS), np.float32)
    for at, share in enumerate(THRESHOLDS):
        boxes, _ = component_boxes(np.asarray(fine >= share * highest))
        largest = scale_boxes(boxes[:1], (GRID, GRID), (1, 1))
        hits[at] = float(iou_matrix(largest, truth_unit[None])[0, 0]) >= HIT_IOU
    return hits


def centre_map() -> FloatArray:
    """(GRID, GRID) a bump in the middle: the reference of Choe et al. 2020, section 5.3."""
    away = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID - 0.5
    line = np.exp(-np.square(away) / (2 * _CENTRE_SIGMA**2))
    return np.asarray(np.outer(line, line), np.float32)


def _square(rgb_chw: U8Array, size_px: int) -> U8Array:
    rgb_u8 = np.ascontiguousarray(rgb_chw.transpose(1, 2, 0))
    return prepare(Picture(rgb_u8, (rgb_u8.shape[0], rgb_u8.shape[1]), "photo"), size_px)

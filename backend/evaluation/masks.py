"""How well the masks of things in boxes fit, where nobody has drawn true ones.

In their place stands what GrabCut makes of a whole picture with the true box alone (OpenCV's
rectangle mode): no truth, but the same for every way that is compared with it, and made
without features, learning or seeds of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, U8Array, iou_matrix
from backend.errors import ConfigError
from backend.evaluation.bed import Bed
from backend.evaluation.curves import Split
from backend.evaluation.figures import Figures
from backend.evaluation.proposers import learned_on, zero_shot_on
from backend.vision.boxes.quantile_grabcut import bounded
from backend.vision.outlines import MASK_SIDE, outline, polygon_of

SIDE_PX = 320
"""Longest side at which the pseudo truth is cut; every mask is compared at its size."""

_ROUNDS = 5
_COLOUR_NUMBERS = 65
"""Of a colour model as OpenCV keeps it."""


@dataclass
class _Tally:
    """Overlaps by name. took_s: of each mask."""

    overlaps: dict[str, list[float]]
    took_s: list[float]

    def add(self, name: str, overlap: float) -> None:
        self.overlaps.setdefault(name, []).append(overlap)


def grabcut_in_box(rgb_u8: U8Array, xyxy_px: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    """(h, w) what GrabCut takes for the object in a box, at most ``SIDE_PX`` a side.

    xyxy_px: (4,) in pixels of size_hw. All false where it finds nothing, or nothing lies
    outside the box to tell it from.
    """
    small = np.ascontiguousarray(bounded(rgb_u8, SIDE_PX))
    height, width = small.shape[:2]
    scale = np.array([width / size_hw[1], height / size_hw[0]] * 2)
    x0, y0 = np.floor(xyxy_px * scale)[:2].astype(int).tolist()
    x1, y1 = np.ceil(xyxy_px * scale)[2:].astype(int).tolist()
    mask = np.zeros((height, width), np.uint8)
    ground, thing = (np.zeros((1, _COLOUR_NUMBERS)) for _ in range(2))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            small, mask, (x0, y0, x1 - x0, y1 - y0), ground, thing, _ROUNDS, cv2.GC_INIT_WITH_RECT
        )
    except cv2.error:
        return np.zeros((height, width), np.bool_)
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def measure_masks(
    bed: Bed,
    splits: Sequence[Split],
    accepted: Sequence[int],
    say: Callable[[str], None] = lambda told: None,
) -> Figures:
    """Mean IoU with the pseudo truth on held-out pictures, of our masks after n accepted.

    ``true_boxes_n``: masks in the true boxes; ``predicted_boxes_n``: in the box that fits a
    true one best, 0 where none overlaps; both with the forms of a head that is published.
    ``formed_n``: as the first, with the forms also of one that is not, for its boxes' sake.
    ``box``, ``ellipse``, ``turned_ellipse``, ``polygon``: of the true box itself, the ellipse
    in it, the ellipse with the moments of the unlearned mask, and the polygon about that.
    ``mask_ms``: median time of a mask. Accepted shapes are the pseudo truth of their
    pictures. Raises: ConfigError where no box has one.
    """
    say("pseudo truth")
    truth = {
        one: [
            grabcut_in_box(bed.shelf.picture(one).rgb_u8, xyxy_px, example.boxes.size_hw)
            for xyxy_px in example.boxes.xyxy_px
        ]
        for one, example in bed.examples.items()
    }
    judged = sum(bool(mask.any()) for masks in truth.values() for mask in masks)
    if not judged:
        raise ConfigError(
            "GrabCut finds nothing in any of the boxes.", "Take pictures that boxes do not fill."
        )
    taught = {
        one: replace(example, masks_hw=tuple(_kept(mask) for mask in truth[one]))
        for one, example in bed.examples.items()
    }
    bed = replace(bed, examples=taught)
    zero_shot = zero_shot_on(bed)
    learned = learned_on(bed, zero_shot)
    tally = _Tally({}, [])
    for split in splits:
        for number in accepted:
            say(f"{number} accepted")
            trained = learned.fit(split.pool[:number]) if number else None
            head = trained.head if trained is not None and trained.publish else None
            found = (
                zero_shot.propose((), split.held_out).boxes
                if head is None
                else learned.boxes(head, split.held_out)
            )
            unused = trained.head if trained is not None else None
            _judge(bed, split.held_out, head, unused, found, truth, number, tally)
    values: dict[str, float | None] = {
        name: float(np.mean(overlaps)) for name, overlaps in tally.overlaps.items()
    }
    values["mask_ms"] = 1000 * float(np.median(tally.took_s))
    boxes = sum(len(one) for one in truth.values())
    about = {
        "data": bed.name,
        "backbone": bed.shelf.backbone.identity.name,
        "pictures": len(bed.ids),
        "boxes": boxes,
        "with_pseudo_truth": judged,
        "draws": len(splits),
    }
    return Figures(values, about, f"{bed.name}: {judged} of {boxes} boxes have a pseudo truth")


def _judge(
    bed: Bed,
    held_out: Sequence[str],
    head: Any,
    fitted: Any,
    found: Mapping[str, Boxes],
    truth: Mapping[str, Sequence[BoolArray]],
    number: int,
    tally: _Tally,
) -> None:
    learner = bed.shelf.learner
    small = head is not None and head.small
    for one, features in zip(held_out, bed.shelf.upright(held_out, small=small), strict=True):
        cells = learner.cells(features) if learner.cells is not None else None
        picture, true, boxes = bed.shelf.picture(one), bed.examples[one].boxes, found[one]
        overlap = iou_matrix(true.xyxy_px, boxes.xyxy_px)
        for at, wanted in enumerate(truth[one]):
            if cells is None or not wanted.any():
                continue
            form = learner.form(head, true.label[at]) if head is not None else None
            begun_s = time.perf_counter()
            mask = outline(picture, cells, true.xyxy_px[at], form)
            tally.took_s.append(time.perf_counter() - begun_s)
            tally.add(f"true_boxes_{number}", _iou(mask, wanted))
            if fitted is not None:
                own = learner.form(fitted, true.label[at])
                if own is not form:
                    mask = outline(picture, cells, true.xyxy_px[at], own)
                tally.add(f"formed_{number}", _iou(mask, wanted))
            if number == 0:
                _compare_shapes(true.xyxy_px[at], true.size_hw, mask, wanted, tally)
            best = int(overlap[at].argmax()) if len(boxes) else -1
            if best < 0 or overlap[at, best] <= 0:
                tally.add(f"predicted_boxes_{number}", 0.0)
                continue
            form = learner.form(head, boxes.label[best]) if head is not None else None
            mask = outline(picture, cells, boxes.xyxy_px[best], form)
            tally.add(f"predicted_boxes_{number}", _iou(mask, wanted))


def _compare_shapes(
    xyxy_px: FloatArray,
    size_hw: tuple[int, int],
    mask: BoolArray,
    wanted: BoolArray,
    tally: _Tally,
) -> None:
    height, width = wanted.shape
    scale = np.array([width / size_hw[1], height / size_hw[0]] * 2)
    x0, y0, x1, y1 = (xyxy_px * scale).tolist()
    y, x = np.mgrid[:height, :width] + 0.5
    tally.add("box", _iou(np.asarray((x0 < x) & (x < x1) & (y0 < y) & (y < y1)), wanted))
    across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
    tally.add("ellipse", _iou(np.asarray(across**2 + down**2 <= 1), wanted))
    same = _resized(mask, (height, width))
    if same.any():
        tally.add("turned_ellipse", _iou(_ellipse_of(same), wanted))
    polygon = polygon_of(mask, (height, width))
    if polygon is not None:
        drawn = np.zeros((height, width), np.uint8)
        cv2.fillPoly(drawn, [np.round(polygon * 16 - 8).astype(np.int32)], 1, shift=4)
        tally.add("polygon", _iou(np.asarray(drawn, np.bool_), wanted))


def _ellipse_of(mask_hw: BoolArray) -> BoolArray:
    """The ellipse of a mask's centre and covariance, whose own are the same."""
    places = np.argwhere(mask_hw).astype(np.float64)
    middle, spread = places.mean(0), np.cov(places.T) + np.eye(2) / 12
    away = np.moveaxis(np.indices(mask_hw.shape), 0, -1) - middle
    return np.asarray(np.einsum("hwi,ij,hwj->hw", away, np.linalg.inv(spread), away) <= 4)


def _iou(mask: BoolArray, wanted: BoolArray) -> float:
    same = _resized(mask, (wanted.shape[0], wanted.shape[1]))
    return float((same & wanted).sum() / max((same | wanted).sum(), 1))


def _kept(mask: BoolArray) -> BoolArray | None:
    scale = MASK_SIDE / max(mask.shape)
    height, width = (max(1, round(side * scale)) for side in mask.shape)
    return _resized(mask, (height, width)) if mask.any() else None


def _resized(mask: BoolArray, size_hw: tuple[int, int]) -> BoolArray:
    same = cv2.resize(mask.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(same, np.bool_)

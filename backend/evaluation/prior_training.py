"""Makes a prior: what boxes of many classes tell about boxes of any class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.domain import FloatArray, Picture, U8Array, iou_matrix
from backend.errors import MediaUnreadable
from backend.learning.accept import Acceptance, accept_features, fit_acceptance, standardised
from backend.learning.candidates import propose
from backend.learning.dense import OUTPUTS, DenseSums, apply, solve, targets
from backend.learning.describe import describe, surroundings
from backend.learning.features import SIZES_PX, extract
from backend.learning.linear import fit_ridge
from backend.learning.matching import LOOSE, TIGHT, hits
from backend.learning.prior import Prior
from backend.learning.scene import corrected, grids_of, keep_best
from backend.learning.trees import fit_trees
from backend.learning.whitening import fit_whitening
from backend.vision.backbones import Backbone

_PULL, _SIDE_PULL = 0.1, 0.3
_CORNER_PENALTY = 0.1
_NEAR = 0.4
_CORNERS_A_PICTURE, _ROWS_A_PICTURE = 12, 60
_TREES, _LEAVES, _LEAST_ROWS = 200, 16, 60
_KNOWN = 60
_WHITENING_PICTURES = 200
_STEP = 16


@dataclass(frozen=True, slots=True)
class Photos:
    """Small photos with a box each, as ``train-backbone`` reads them (see docs).

    files: encoded photos. boxes (N, 4) in pixels, corners inclusive.
    """

    files: tuple[bytes, ...]
    boxes: FloatArray

    @classmethod
    def load(cls, path: Path) -> Photos:
        """From an npz with data, offsets, box and split (0: training)."""
        with np.load(path) as arrays:
            chosen = np.flatnonzero(arrays["split"] == 0)
            data, offsets = arrays["data"], arrays["offsets"]
            files = tuple(data[offsets[i] : offsets[i + 1]].tobytes() for i in chosen)
            return cls(files, arrays["box"][chosen].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture composed of photos; boxes (M, 4) in picture units."""

    picture: Picture
    boxes: FloatArray


def canvases(photos: Photos, count: int, seed: int) -> Iterator[Canvas]:
    """Photos alone and zoomed, in pairs, in fours, and inset into a blurred other one."""
    random = np.random.RandomState(seed)
    side = max(SIZES_PX)
    for number in range(count):
        kind = random.choice(4, p=[0.45, 0.25, 0.2, 0.1])
        scale = random.uniform(0.35, 0.8)
        x, y = random.uniform(0, 1 - scale, 2)
        layout = [
            [(0.0, 0.0, 1.0, 1.0)],
            [(0.0, 0.0, 1.0, 1.0), (x, y, x + scale, y + scale)],
            [(0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1)],
            [(0, 0, 0.5, 1), (0.5, 0, 1, 1)],
        ][kind]
        rgb = np.zeros((side, side, 3), np.uint8)
        boxes = []
        for place, (left, top, right, bottom) in enumerate(layout):
            photo, box = _photo(photos, random, zoom=kind == 0)
            x0, y0, x1, y1 = (round(v * side) for v in (left, top, right, bottom))
            rgb[y0:y1, x0:x1] = cv2.resize(photo, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
            if kind == 1 and place == 0:
                rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), side / 25), np.uint8)
                continue
            size = np.array([right - left, bottom - top] * 2)
            boxes.append(box * size + np.array([left, top] * 2))
        picture = Picture(rgb, (side, side), f"canvas-{seed}-{number}")
        yield Canvas(picture, np.array(boxes, np.float32))


def _photo(
    photos: Photos, random: np.random.RandomState, *, zoom: bool
) -> tuple[U8Array, FloatArray]:
    """A random photo, maybe mirrored and zoomed, with its box in 0..1."""
    number = int(random.randint(len(photos.files)))
    encoded = np.frombuffer(photos.files[number], np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise MediaUnreadable(f"Photo {number} cannot be decoded.", "Make the file anew.")
    rgb = np.asarray(decoded[..., ::-1], np.uint8)
    side = rgb.shape[0]
    box = (photos.boxes[number] + np.array([0, 0, 1, 1], np.float32)) / side
    if zoom:
        share = random.uniform(0.6, 1)
        x, y = random.uniform(0, 1 - share, 2)
        seen = np.clip((box - np.array([x, y, x, y])) / share, 0, 1)
        visible = np.prod(seen[2:] - seen[:2]) * share**2
        if visible > 0.5 * np.prod(box[2:] - box[:2]):
            x0, y0, width = int(x * side), int(y * side), max(1, int(share * side))
            rgb, box = rgb[y0 : y0 + width, x0 : x0 + width], seen
    if random.rand() < 0.5:
        rgb = rgb[:, ::-1]
        box = np.array([1 - box[2], box[1], 1 - box[0], box[3]])
    return np.ascontiguousarray(rgb), np.asarray(box, np.float32)


@dataclass(frozen=True, slots=True)
class _Seen:
    canvas: Canvas
    grids: tuple[FloatArray, ...]


def train_prior(
    backbone: Backbone,
    photos: Photos,
    count: int,
    seed: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Prior:
    """A prior for a backbone from count canvases.

    The first 60 % teach the dense head, the next 25 % corners and ranking, the last 15 %
    what a score is worth: each part is fitted on what the one before has not seen.
    """
    random = np.random.RandomState(seed)
    drawn = list(canvases(photos, count, seed))
    first = extract(backbone, [canvas.picture for canvas in drawn[:_WHITENING_PICTURES]])
    whitening = fit_whitening(first, seed=seed)

    def seen(low: int, high: int) -> Iterator[_Seen]:
        for start in range(low, high, _STEP):
            part = drawn[start : min(start + _STEP, high)]
            for canvas, features in zip(
                part, extract(backbone, [c.picture for c in part]), strict=True
            ):
                yield _Seen(canvas, grids_of(features, whitening))
            on_progress(start + len(part))

    dense_end, rank_end = int(0.6 * count), int(0.85 * count)
    sums: DenseSums | None = None
    for one in seen(0, dense_end):
        wanted = [targets(one.canvas.boxes, grid.shape[0]) for grid in one.grids]
        part = DenseSums.of(one.grids, wanted)
        sums = part if sums is None else sums + part
    if sums is None:
        raise ValueError("A prior needs pictures.")
    start = np.zeros((whitening.width + 1, OUTPUTS), np.float32)
    weights = solve(sums, start, _PULL, _SIDE_PULL)
    boxes = np.concatenate([canvas.boxes for canvas in drawn[:dense_end]])
    known = boxes[random.permutation(len(boxes))[:_KNOWN]]

    looked = []
    surroundings_rows, steps = [], []
    for one in seen(dense_end, count):
        maps = apply(weights, one.grids)
        found = propose(maps, known)
        looked.append((maps, found, one.canvas.boxes))
        overlap = iou_matrix(found.boxes, one.canvas.boxes)
        near = np.flatnonzero(overlap.max(1) >= _NEAR)
        near = near[random.permutation(len(near))[:_CORNERS_A_PICTURE]]
        if len(looked) <= rank_end - dense_end and len(near):
            candidates = found.boxes[near]
            size = np.tile(candidates[:, 2:] - candidates[:, :2], 2)
            surroundings_rows.append(surroundings(maps, candidates))
            steps.append((one.canvas.boxes[overlap[near].argmax(1)] - candidates) / size)
    rows = np.concatenate(surroundings_rows)
    corners = fit_ridge(rows, np.concatenate(steps), _CORNER_PENALTY * len(rows))

    described = []
    for maps, found, truth in looked:
        every = np.concatenate([found.boxes, corrected(corners, maps, found.boxes)])
        described.append((every, describe(maps, every, known, found.moment, every), truth))
    teaching = described[: rank_end - dense_end]
    numbers, fits = [], []
    for every, values, truth in teaching:
        chosen = random.permutation(len(every))[:_ROWS_A_PICTURE]
        numbers.append(values[chosen])
        fits.append(iou_matrix(every[chosen], truth).max(1))
    trees = fit_trees(
        np.concatenate(numbers),
        np.concatenate(fits),
        count=_TREES,
        leaves=_LEAVES,
        least_rows=_LEAST_ROWS,
    )
    acceptance = _acceptance(
        [(every, trees(values), truth) for every, values, truth in described[len(teaching) :]]
    )
    return Prior(backbone.identity.name, whitening, weights, corners, trees, known, acceptance)


def _acceptance(ranked: list[tuple[FloatArray, FloatArray, FloatArray]]) -> Acceptance:
    features, hit_50, hit_70 = [], [], []
    for boxes, score, truth in ranked:
        kept = keep_best(boxes, score)
        no_label = np.zeros((len(kept.boxes), 2), np.float32)
        features.append(accept_features(kept.score, kept.iou, no_label))
        overlap = iou_matrix(kept.boxes, truth)
        hit_50.append(hits(overlap, LOOSE))
        hit_70.append(hits(overlap, TIGHT))
    values = np.concatenate(features)
    mean, spread = standardised(values)
    nothing = np.zeros(values.shape[1], np.float32)
    return fit_acceptance(
        values,
        np.concatenate(hit_50),
        np.concatenate(hit_70),
        sum(len(truth) for _, _, truth in ranked),
        len(ranked),
        Acceptance(mean, spread, nothing, nothing, 0.5),
        trust=0.0,
    )

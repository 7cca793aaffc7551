"""What the things of a label look like inside their boxes: a map of each, learned from shapes.

A form is a linear classifier of places on a grid over a box and a quarter round it. It starts
from the map that knows no label, so that few accepted shapes move it little, and is used only
where it draws better, on pictures it has not seen, than that map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import BoolArray, FloatArray
from backend.learning.examples import Example
from backend.learning.folds import Folds
from backend.learning.grids import FeaturePair
from backend.learning.head import to_units
from backend.learning.linear import fit_logistic
from backend.learning.pointed import pointed_cells
from backend.vision.anchored import wide_enough
from backend.vision.cut_out import sampled, seen_about
from backend.vision.likeness import anchored_map

GRID = 16
"""Places a side over the box and its surroundings."""

LEAST = 5
"""Accepted shapes of a label, on as many pictures, from which its form is learned."""

MOST, MOST_IN_ALL = 100, 600
"""Shapes of a label that are learned from, spread over all its pictures, and of all labels: 40
more than 10 add little, and each takes 100 kB and a hundredth of a second."""

_PENALTY = 300.0
_LEAST_P = 1e-3
_PLACES = 7
_NOWHERE = np.zeros((0, 2))

F64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Form:
    """weights (1 + 7 + C,): of the map's log-odds, of the place in the box, of the cells."""

    label: str
    weights: FloatArray

    def __call__(
        self, cells_chw: FloatArray, values_hw: FloatArray, rectangle: F64Array
    ) -> FloatArray:
        """(GRID, GRID) probabilities; see ``outlines.FormMap``."""
        return _map(_rows(cells_chw, values_hw, rectangle), self.weights)


@dataclass(frozen=True, slots=True)
class FittedForm:
    """form: None where it is no better. iou: mean overlap of the map's half with the accepted
    shapes, out of fold; unlearned_iou: of the map that knows no label.
    """

    label: str
    form: Form | None
    iou: float
    unlearned_iou: float


@dataclass(frozen=True, slots=True)
class _Lesson:
    picture: str
    rows: FloatArray
    wanted: FloatArray


def fit_forms(
    examples: Sequence[Example], features: Mapping[str, FeaturePair], labels: Sequence[str]
) -> list[FittedForm]:
    """What was learned of each label with enough accepted shapes; none without any.

    Per label a logistic regression on soft targets, the share of the thing at each place,
    with a squared penalty on the distance to weights that give the unlearned map back
    (Newton's method, ``linear.fit_logistic``). What a row holds: the log-odds of
    ``anchored_map``; the place in the box up to its squares; the cells' channels, each over
    its standard deviation in the picture.
    """
    taught = [one for one in examples if any(mask is not None for mask in one.masks_hw)]
    most = min(MOST, max(LEAST, MOST_IN_ALL // max(len(labels), 1)))
    chosen = {label: _chosen(taught, label, most) for label in labels}
    lessons: dict[str, list[_Lesson]] = {label: [] for label in labels}
    for example in taught:
        wanted = {
            at: label
            for label in labels
            for picture, at in chosen[label]
            if picture == example.picture
        }
        if wanted:
            cells = pointed_cells(features[example.picture][0])
            for at, label in sorted(wanted.items()):
                mask = example.masks_hw[at]
                rectangle = wide_enough(to_units(example.boxes)[at].astype(np.float64))
                if mask is not None:
                    lessons[label].append(_lesson(example.picture, cells, rectangle, mask))
    return [
        _fitted(label, of_label)
        for label, of_label in lessons.items()
        if len({one.picture for one in of_label}) >= LEAST
    ]


def _chosen(examples: Sequence[Example], label: str, most: int) -> set[tuple[str, int]]:
    """Picture and position of the shapes of a label to learn from."""
    found = [
        (example.picture, at)
        for example in examples
        for at, (name, mask) in enumerate(zip(example.boxes.label, example.masks_hw, strict=True))
        if name == label and mask is not None
    ]
    spread = np.linspace(0, len(found) - 1, min(len(found), most)).astype(int)
    return {found[at] for at in spread}


def _lesson(
    picture: str, cells_chw: FloatArray, rectangle: F64Array, mask_hw: BoolArray
) -> _Lesson:
    values = anchored_map(cells_chw, rectangle, _NOWHERE, _NOWHERE)
    wanted = sampled(mask_hw.astype(np.float32), *_places(rectangle)).reshape(-1)
    return _Lesson(picture, _rows(cells_chw, values, rectangle), wanted)


def _fitted(label: str, lessons: Sequence[_Lesson]) -> FittedForm:
    pictures = list(dict.fromkeys(one.picture for one in lessons))
    fold_of = dict(zip(pictures, Folds.dealt(len(pictures)).of, strict=True))
    folds = Folds(tuple(fold_of[one.picture] for one in lessons))
    start = np.zeros(lessons[0].rows.shape[1], np.float32)
    start[0] = 1.0

    def weights(without: int | None) -> FloatArray:
        used = folds.outside(lessons, without)
        rows = np.concatenate([one.rows for one in used])
        return fit_logistic(rows, np.concatenate([one.wanted for one in used]), start, _PENALTY)

    learned = folds.each(weights)
    iou = float(
        np.mean([_iou(one, learned[at]) for at, one in zip(folds.of, lessons, strict=True)])
    )
    unlearned = float(np.mean([_iou(one, start) for one in lessons]))
    form = Form(label, learned[None]) if iou > unlearned else None
    return FittedForm(label, form, iou, unlearned)


def _iou(lesson: _Lesson, weights: FloatArray) -> float:
    found, wanted = lesson.rows @ weights > 0, lesson.wanted > 0.5
    return float((found & wanted).sum() / max((found | wanted).sum(), 1))


def _map(rows: FloatArray, weights: FloatArray) -> FloatArray:
    odds = np.clip(rows @ weights, -30, 30).reshape(GRID, GRID)
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def _places(rectangle: F64Array) -> tuple[F64Array, F64Array]:
    """x and y (GRID,) in picture units of the places about a rectangle."""
    window = seen_about(rectangle)
    steps = (np.arange(GRID) + 0.5) / GRID
    return tuple(window[i] + steps * (window[i + 2] - window[i]) for i in (0, 1))


def _rows(cells_chw: FloatArray, values_hw: FloatArray, rectangle: F64Array) -> FloatArray:
    """(GRID * GRID, 1 + 7 + C) what is known of each place."""
    x, y = _places(rectangle)
    p = np.clip(sampled(values_hw, x, y), _LEAST_P, 1 - _LEAST_P).reshape(-1, 1)
    across, down = (
        (2 * x - rectangle[0] - rectangle[2]) / (rectangle[2] - rectangle[0]),
        (2 * y - rectangle[1] - rectangle[3]) / (rectangle[3] - rectangle[1]),
    )
    u, v = (one.reshape(-1) for one in np.meshgrid(across, down))
    outside = np.maximum(np.abs(u), np.abs(v)) > 1
    place = np.stack([np.ones_like(u), u, v, u * u, v * v, u * v, outside], 1)
    channels = len(cells_chw)
    flat = cells_chw.reshape(channels, -1)
    spread = flat.std(1)
    flat = (flat - flat.mean(1)[:, None]) / (spread + 0.1 * spread.mean() + 1e-9)[:, None]
    cells = [
        sampled(np.ascontiguousarray(one, np.float32), x, y).reshape(-1)
        for one in flat.reshape(cells_chw.shape)
    ]
    return np.concatenate([np.log(p / (1 - p)), place, np.stack(cells, 1)], 1).astype(np.float32)

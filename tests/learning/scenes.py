"""Features of made-up pictures: channels that light up where an object is, and noise."""

from __future__ import annotations

import numpy as np

from backend.domain import BackboneIdentity, Boxes, FloatArray, iou_matrix
from backend.learning.dense import targets
from backend.learning.describe import SURROUNDINGS
from backend.learning.examples import Example
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.fit import fit
from backend.learning.head import to_pixels
from backend.learning.linear import no_ridge
from backend.learning.prior import Prior
from backend.learning.trees import no_trees

SIZE_HW = (200, 300)
LABELS = ("disc", "square")
SIDES = (6, 10)
"""Cells a side at stride 16 of the two views."""


def boxes_at_random(random: np.random.RandomState, most: int = 2) -> FloatArray:
    """One to most boxes that do not overlap much, in picture units."""
    found: list[FloatArray] = []
    wanted = 1 + random.randint(most)
    while len(found) < wanted:
        size = random.uniform(0.25, 0.5, 2)
        low = random.uniform(0, 1 - size)
        box = np.concatenate([low, low + size]).astype(np.float32)[None]
        if not found or iou_matrix(box, np.concatenate(found)).max() < 0.1:
            found.append(box)
    return np.concatenate(found)


def features_of(
    random: np.random.RandomState, boxes: FloatArray, label: list[int]
) -> PictureFeatures:
    """Three taps a view: object and edge channels of each label, among noise."""
    views = []
    for side in SIDES:
        taps: list[F16Array] = []
        for cells in (2 * side, side, side // 2):
            signal = [
                targets(boxes[np.array(label) == name], cells).maps for name in range(len(LABELS))
            ]
            values = np.concatenate(signal, 1).T.reshape(-1, cells, cells)
            noise = random.normal(0, 0.15, (16, cells, cells))
            noise[: len(values)] += values
            taps.append(noise.astype(np.float16))
        views.append(tuple(taps))
    pooled = views[-1][-1].astype(np.float32).mean((1, 2)).astype(np.float16)
    return PictureFeatures(tuple(views), pooled, SIZE_HW)


def project(
    count: int, seed: int
) -> tuple[list[Example], dict[str, tuple[PictureFeatures, PictureFeatures]]]:
    """Accepted pictures with their features, upright and mirrored."""
    random = np.random.RandomState(seed)
    examples, features = [], {}
    for number in range(count):
        boxes = boxes_at_random(random)
        label = [int(v) for v in random.randint(0, 2, len(boxes))]
        mirrored = boxes.copy()
        mirrored[:, [0, 2]] = 1 - boxes[:, [2, 0]]
        name = f"{seed}-{number}"
        examples.append(
            Example(
                name,
                Boxes(
                    to_pixels(boxes, SIZE_HW),
                    np.ones(len(boxes), np.float32),
                    tuple(LABELS[i] for i in label),
                    SIZE_HW,
                ),
                np.zeros((0, 4), np.float32),
            )
        )
        features[name] = (
            features_of(random, boxes, label),
            features_of(random, mirrored, label),
        )
    return examples, features


def made_prior(backbone: str) -> Prior:
    """A prior for a backbone, from many accepted pictures of this kind."""
    examples, features = project(30, seed=20)
    head, _ = fit(examples, features, LABELS, BackboneIdentity("nothing known", "0123", 160))
    assert head.whitening is not None
    return Prior(
        backbone,
        head.whitening,
        head.weights,
        no_ridge(SURROUNDINGS, 4),
        no_trees(0.3),
        head.known,
        head.acceptance,
    )

"""A project's labels as classes of its backbone, so that every saliency method explains them.

It names no box and changes no prediction: it is for looking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.domain import FloatArray
from backend.errors import ConfigError
from backend.learning.features import F16Array
from backend.learning.naming import box_vectors, fit_naming
from backend.vision.backbones import Backbone
from backend.vision.classes import ClassName

if TYPE_CHECKING:  # a head holds a classifier
    from backend.learning.head import Head

BACKGROUND = ClassName("", "")
"""The class after the labels: what boxes leave out. It has no name that a label could have."""


@dataclass(frozen=True, slots=True)
class LabelClassifier:
    """A linear layer on the mean over a backbone's last cells.

    weight (K + 1, C) float16, bias (K + 1,) float32: the labels in the head's order, then
    the background. Scores are in about -1..1.
    """

    weight: F16Array
    bias: FloatArray


@dataclass(frozen=True, slots=True)
class CellLooks:
    """What one accepted picture adds. inside (M, C): of each box. outside (0 or 1, C)."""

    inside: F16Array
    outside: F16Array


def cell_looks(cells: F16Array, boxes: FloatArray) -> CellLooks:
    """Means of a picture's cells (C, h, w) over each box (M, 4), and over what all leave out.

    boxes: in picture units. A cell belongs to the background if its middle is in no box.
    """
    grid = cells.astype(np.float32).transpose(1, 2, 0)
    height, width = grid.shape[:2]
    y = ((np.arange(height) + 0.5) / height)[:, None, None]
    x = ((np.arange(width) + 0.5) / width)[None, :, None]
    left, top, right, bottom = boxes.T
    covered = (left <= x) & (x < right) & (top <= y) & (y < bottom)
    outside = grid[~covered.any(2)]
    background = outside.mean(0, keepdims=True) if len(outside) else outside
    return CellLooks(box_vectors([grid], boxes).astype(np.float16), background.astype(np.float16))


def fit_label_classifier(
    looks: Sequence[CellLooks], label: Sequence[tuple[int, ...]], labels: int
) -> LabelClassifier:
    """Ridge regression of each label against the others and the background.

    label: of each picture's boxes, positions among ``labels`` many. Every label and the
    background weigh the same, however many boxes they have. As pooling and the layer are
    both linear, a cell's score is what it adds to the mean (Zhou et al. 2016, eq. 1-2):
    the weights learned from means over boxes are those of a class activation map.
    """
    known = [name for here in label for name in here]
    inside = [one.inside for one in looks]
    outside = [one.outside for one in looks]
    known += [labels] * sum(len(one) for one in outside)
    vectors = np.concatenate([*inside, *outside]).astype(np.float32)
    fitted = fit_naming(vectors, known, labels + 1)
    bias = fitted.offset - fitted.mean @ fitted.weights
    return LabelClassifier(
        np.ascontiguousarray(fitted.weights.T, np.float16), np.asarray(bias, np.float32)
    )


def explained_backbone(backbone: Backbone, head: Head) -> Backbone:
    """The backbone with the head's labels as its classes, ``BACKGROUND`` after them.

    A saliency method given this backbone explains a label of the project as it explains a
    class of the network; class k is ``head.labels[k]``. Pictures looked at before need no
    other forward pass: the features are the same, only the logits differ.
    Raises: ConfigError where the head was learned with other weights, or by a release
    whose heads had no classifier.
    """
    if head.meta.backbone_digest != backbone.identity.digest:
        raise ConfigError(
            f"The head was learned with {head.meta.backbone} {head.meta.backbone_digest}, "
            f"this is {backbone.identity.name} {backbone.identity.digest}.",
            "Load the backbone that the head was learned with, or train the project again.",
        )
    if head.classifier is None:
        raise ConfigError(
            "The head is of an earlier release and cannot explain its labels.",
            "Train the project again.",
        )
    classes = (*(ClassName("", label) for label in head.labels), BACKGROUND)
    weight, bias = (
        torch.from_numpy(values.astype(np.float32))
        for values in (head.classifier.weight, head.classifier.bias)
    )
    return backbone.classifying(weight, bias, classes)

"""What of a picture's features helps to find the object that an annotator points at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.domain import UNNAMED, Boxes, FloatArray, clip_xyxy_px
from backend.learning.features import PictureFeatures
from backend.learning.head import to_pixels
from backend.learning.prior import Prior
from backend.learning.scene import grids_of, prior_score, view_of
from backend.learning.unlabelled import known_prior
from backend.vision.backbones import Backbone


@dataclass(frozen=True, slots=True)
class Pointable:
    """cells_chw: (C, h, w) float32 of the picture at a stride of 16 pixels, where the backbone
    has it. proposals: what may be an object, in pixels, unnamed; a score is how well the box
    fits one. None where nothing is known of objects.
    """

    cells_chw: FloatArray
    proposals: Boxes | None


Describe = Callable[[PictureFeatures], Pointable]


def pointable(backbone: Backbone) -> Describe:
    """How features of this backbone are read; its prior is looked for once."""
    return functools.partial(_pointable, known_prior(backbone))


def pointed_cells(features: PictureFeatures) -> FloatArray:
    """(C, h, w) float32 of the picture at a stride of 16 pixels, where the backbone has it."""
    taps = features.views[-1]
    sides = sorted({tap.shape[1] for tap in taps}, reverse=True)
    # The finest grid is of stride 8 and knows edges rather than things.
    middle = sides[min(1, len(sides) - 1)]
    return next(tap for tap in taps if tap.shape[1] == middle).astype(np.float32)


def _pointable(prior: Prior | None, features: PictureFeatures) -> Pointable:
    cells = pointed_cells(features)
    if prior is None:
        return Pointable(cells, None)
    view = view_of(prior, grids_of(features, prior.whitening))
    fit = np.clip(prior_score(prior, view, view.boxes), 0, 1).astype(np.float32)
    boxes = clip_xyxy_px(to_pixels(view.boxes, features.size_hw), features.size_hw)
    names = (UNNAMED,) * len(fit)
    return Pointable(cells, Boxes(boxes, fit, names, features.size_hw))

"""Boxes before a project has accepted any: what the prior takes for objects, of any label."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from backend.domain import UNNAMED, Boxes, Picture, U8Array, iou_matrix
from backend.learning.accept import accept_features
from backend.learning.boxmath import suppress
from backend.learning.features import PictureFeatures, extract
from backend.learning.head import to_pixels, to_units
from backend.learning.prior import Prior, prior_for
from backend.learning.scene import (
    MOST_BOXES,
    MOST_OVERLAP,
    fuse,
    grids_of,
    prior_score,
    view_of,
)
from backend.vision.backbones import Backbone, Features
from backend.vision.detect import DetectOptions, detect
from backend.vision.look import Looked, to_device
from backend.vision.objects import Objects, Sight

AGREEMENT = 0.15
"""What a candidate gains that equals the box of the class activation map, in units of IoU."""

_DRAWN_PX = 224


def propose(prior: Prior, features: PictureFeatures, hint: Boxes) -> Boxes:
    """Unnamed boxes of a picture, best first; a score is the probability of acceptance.

    hint: boxes of a saliency map, in pixels like the answer; none is no hint. The prior
    scores its candidates, the hint moves their order, and what suppression keeps is
    averaged with its neighbours (weighted boxes fusion, Solovyev et al. 2021; here by
    exponentials of the score). Acceptance and threshold are the prior's own.
    """
    view = view_of(prior, grids_of(features, prior.whitening))
    fit = prior_score(prior, view, view.boxes)
    rank = fit
    if len(hint):
        rank = fit + np.float32(AGREEMENT) * iou_matrix(view.boxes, to_units(hint)).max(1)
    iou = iou_matrix(view.boxes, view.boxes)
    kept = suppress(view.boxes, rank, iou, MOST_OVERLAP, MOST_BOXES)
    # Acceptance was learned from scores without a hint.
    no_label = np.zeros((len(kept), 2), np.float32)
    rows = accept_features(fit[kept], iou[np.ix_(kept, kept)], no_label)
    cut_by, probability = prior.acceptance(rows)
    shown = np.flatnonzero(cut_by >= prior.acceptance.threshold)
    order = shown[np.argsort(-probability[shown], kind="stable")]
    fused = [fuse(view.boxes, rank, iou[kept[at]]) for at in order]
    return Boxes(
        to_pixels(np.array(fused, np.float32).reshape(-1, 4), features.size_hw),
        probability[order],
        (UNNAMED,) * len(order),
        features.size_hw,
    )


See = Callable[[Sequence[PictureFeatures], Sequence[Picture], U8Array, DetectOptions], Sight]
"""Features of pictures, upright, the pictures, they prepared (B, S, S, 3), and by which map
the box is drawn that moves the order of candidates: a sight."""


def see_with_prior(backbone: Backbone) -> See | None:
    """How pictures are looked at without a forward pass of its own; None without a prior.

    Whether the prior was made for these weights is asked of a drawn picture, once: no
    answer depends on the pictures that came first.
    """
    prior = known_prior(backbone)
    return None if prior is None else functools.partial(_see, backbone, prior)


def known_prior(backbone: Backbone) -> Prior | None:
    """The prior of these weights, judged by a drawn picture; None where there is none."""
    return prior_for(backbone.identity.name, extract(backbone, [_drawn()]))


def _see(
    backbone: Backbone,
    prior: Prior,
    features: Sequence[PictureFeatures],
    pictures: Sequence[Picture],
    images_u8: U8Array,
    hint: DetectOptions,
) -> Sight:
    # Maps are finer on the large view; classes are told best near the side of training.
    large, small = (_looked(backbone, features, images_u8, view) for view in (-1, 0))
    drawn = detect(large, pictures, (), hint)
    boxes = [propose(prior, *both) for both in zip(features, drawn, strict=True)]
    return Sight(large, Objects(tuple(boxes), small))


def _looked(
    backbone: Backbone, features: Sequence[PictureFeatures], images_u8: U8Array, view: int
) -> Looked:
    """The last tap of a view is the grid of cells that the head reads."""
    cells = np.stack([one.views[view][-1] for one in features]).astype(np.float32)
    seen = Features(torch.from_numpy(cells).to(backbone.device), backbone.stride * cells.shape[-1])
    return Looked(backbone, to_device(backbone, images_u8), seen, backbone.logits(seen))


def _drawn() -> Picture:
    """Smooth colour and fine grain, the same every time."""
    ramp = np.linspace(0, 191, _DRAWN_PX, dtype=np.uint8)[None, :, None]
    grain = np.random.RandomState(0).randint(0, 64, (_DRAWN_PX, _DRAWN_PX, 3)).astype(np.uint8)
    return Picture(ramp + grain, (_DRAWN_PX, _DRAWN_PX), "drawn")

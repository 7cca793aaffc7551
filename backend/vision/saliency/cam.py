"""Class activation maps, without a backward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.objectness import feature_norm
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import stretch, to_saliency

OBJECTS = "objects"
"""The way that asks what is known of objects before it asks for labels, by name: see
``backend.vision.objects``. Where nothing is known for the backbone, it is the map below."""


def activation(looked: Looked, target: Target) -> Tensor:
    """(B, h, w) weighted sum of the class activation maps of the target."""
    with torch.inference_mode():
        maps = looked.backbone.class_maps(looked.features, target.class_index)
        return (maps * target.weight[:, :, None, None]).sum(1)


def beside_norm(looked: Looked, maps: Tensor) -> Tensor:
    """(B, h, w) sum of the maps and the feature norm, both stretched, on the maps' grid."""
    with torch.inference_mode():
        norm = stretch(feature_norm(looked.features.cells_bchw))
        if norm.shape != maps.shape:
            norm = F.interpolate(norm[:, None], tuple(maps.shape[1:]), mode="bilinear")[:, 0]
        return stretch(maps) + norm


def cam_without_class(looked: Looked, target: Target) -> SaliencyMap:
    """Mean of the stretched map of the target and the stretched feature norm.

    The classes a network takes an unknown thing for are wrong but lie on the thing, and
    the norm covers more of it than its telling part.
    """
    return to_saliency(beside_norm(looked, activation(looked, target)))


@saliency(OBJECTS, box_rule="threshold", without_class=cam_without_class)
@saliency("cam", box_rule="threshold", without_class=cam_without_class)
def cam(looked: Looked, target: Target) -> SaliencyMap:
    """What each cell adds to the target's score, negative contributions included.

    Source: Zhou et al. 2016. Cost: one product of the cells with K rows of weights.
    """
    return to_saliency(activation(looked, target))

"""Where something is, whatever it is: maps for pictures of no known class."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency


def feature_norm(cells_bchw: Tensor) -> Tensor:
    """(B, h, w) Euclidean length of each cell: networks answer objects more than ground."""
    length: Tensor = torch.linalg.vector_norm(cells_bchw, dim=1)
    return length


@saliency("norm", box_rule="threshold")
def norm(looked: Looked, target: Target) -> SaliencyMap:
    """The feature norm, stretched; the target plays no part."""
    with torch.inference_mode():
        return to_saliency(feature_norm(looked.features.cells_bchw))

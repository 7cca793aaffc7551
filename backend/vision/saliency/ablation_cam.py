"""Channels weighted by what the score loses without them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.vision.architectures import PooledLinearHead
from backend.vision.look import Looked
from backend.vision.saliency.cell_gradient import cell_gradients
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.gradient_cam import weighted_sum
from backend.vision.saliency.registry import Target
from backend.vision.saliency.target_score import target_scores, variant_scores

_BATCH = 32
"""Channels left out at a time, each in a copy of a picture's cells."""


@cell_map("ablationcam")
def ablationcam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): channels weighted by the drop of the score without them, then a ReLU.

    Source: Desai and Ramaswamy 2020, "Ablation-CAM", with the ReLU of the paper. Differs:
    the drop is not divided by the score, which is one number a picture: above zero it
    goes in the stretching, below it would turn the map over.
    Cost: as gradcam where the head is a mean and a linear layer; else C passes through
    the head.
    """
    return F.relu(weighted_sum(score_drops(looked, target), looked.features.cells_bchw))


def score_drops(looked: Looked, target: Target) -> Tensor:
    """(B, C) target score minus the score with all cells of one channel set to 0."""
    cells = looked.features.cells_bchw
    if isinstance(looked.backbone.head, PooledLinearHead):
        # Linear in the cells: a channel adds its gradient times its cells.
        return (cell_gradients(looked, target) * cells).sum((2, 3))
    with torch.inference_mode():
        whole = target_scores(looked.backbone.head(cells), target)
        return whole[:, None] - _scores_without(looked, target)


def _scores_without(looked: Looked, target: Target) -> Tensor:
    cells, head = looked.features.cells_bchw, looked.backbone.head
    scores = cells.new_empty(cells.shape[:2])
    for row, one in enumerate(cells):
        for first in range(0, len(one), _BATCH):
            channels = torch.arange(first, min(first + _BATCH, len(one)), device=cells.device)
            left = one.repeat(len(channels), 1, 1, 1)
            left[channels - first, channels] = 0
            scores[row, channels] = variant_scores(head(left), target, row)
    return scores

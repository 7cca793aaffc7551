"""How a target's score answers to the last cells, through the head alone."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.registry import Target
from backend.vision.saliency.target_score import target_scores


def cell_gradients(looked: Looked, target: Target) -> Tensor:
    """(B, C, h, w) derivative of each picture's target score by its cells.

    The trunk is not run again and no graph outlives the call. As no picture's score
    depends on another's cells, one backward pass of the sum serves the batch.
    """
    with torch.inference_mode(False), torch.enable_grad():
        cells = looked.features.cells_bchw.clone().requires_grad_(True)
        scores = target_scores(looked.backbone.head(cells), target)
        (slope,) = torch.autograd.grad(scores.sum(), cells)
    return slope

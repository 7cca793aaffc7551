"""The one number of a picture that a map explains: its target's score."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.vision.saliency.registry import Target


def target_scores(logits: Tensor, target: Target) -> Tensor:
    """(B,) weighted sum of the class scores that the target names, from (B, classes) logits."""
    # The target may have been computed in inference mode, which autograd would refuse.
    index = target.class_index.to(logits.device).clone()
    return (logits.gather(1, index) * target.weight.to(logits.device).clone()).sum(1)


def target_losses(logits: Tensor, target: Target) -> Tensor:
    """(B,) float64 cross-entropy of the target's classes, each with its weight.

    Double, because in float32 the softmax of a sure class is 1 and its slope 0.
    """
    return -target_scores(torch.log_softmax(logits.double(), 1), target)


def variant_scores(logits: Tensor, target: Target, row: int) -> Tensor:
    """(N,) the same of one row of the target, from (N, classes) logits of its variants."""
    index, weight = target.class_index[row], target.weight[row]
    return logits[:, index.to(logits.device)] @ weight.to(logits.device)

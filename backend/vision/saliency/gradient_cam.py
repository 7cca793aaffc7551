"""Class activation maps that weigh the cells by the gradient of the target's score.

All read the last cells and the gradient through the head, so none runs the trunk again.
Where the head is a mean over cells and a linear layer, the gradient is the same on every
cell: gradcam and xgradcam are then the positive part of ``cam``, and hirescam is ``cam``.
Cost of each: a forward and backward pass through the head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cell_gradient import cell_gradients
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target


def weighted_sum(weight_bc: Tensor, cells_bchw: Tensor) -> Tensor:
    """(B, h, w) sum over channels of the cells times a weight (B, C) of each channel."""
    return torch.einsum("bc,bchw->bhw", weight_bc, cells_bchw)


@cell_map("gradcam")
def gradcam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): channels weighted by their mean gradient, then a ReLU as in the paper.

    Source: Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.
    """
    weight = cell_gradients(looked, target).mean((2, 3))
    return F.relu(weighted_sum(weight, looked.features.cells_bchw))


@cell_map("gradcam++")
def gradcam_plus_plus(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): channels weighted by their positive gradients, each with its own share.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", equation 19 for the shares, with both
    ReLUs of the paper: on the gradients, and on the sum over channels. The paper's score
    is exp of ours, which makes a factor of one number a picture; it goes in the stretching.
    Meant for cells that a ReLU made; cells below zero can bring a share's divisor to 0.
    """
    slope, cells = cell_gradients(looked, target), looked.features.cells_bchw
    # Equation 19 with slope squared cancelled, which small gradients would lose in float32.
    divisor = 2 + cells.sum((2, 3), keepdim=True) * slope
    share = torch.where(divisor == 0, 0, 1 / divisor)
    return F.relu(weighted_sum((F.relu(slope) * share).sum((2, 3)), cells))


@cell_map("xgradcam")
def xgradcam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): channels weighted by their gradient, averaged with the cells as weights.

    A channel whose cells sum to 0 takes no part. Source: Fu et al. 2020, "Axiom-based
    Grad-CAM", with the ReLU of its authors' program.
    """
    slope, cells = cell_gradients(looked, target), looked.features.cells_bchw
    total = cells.sum((2, 3))
    weight = torch.where(total == 0, 0, (slope * cells).sum((2, 3)) / total)
    return F.relu(weighted_sum(weight, cells))


@cell_map("hirescam")
def hirescam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): gradient times cell, summed over channels. No ReLU, as in the paper.

    Source: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM".
    """
    return (cell_gradients(looked, target) * looked.features.cells_bchw).sum(1)


@cell_map("layercam")
def layercam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): positive gradient times cell, summed, then a ReLU; both as in the paper.

    Source: Jiang et al. 2021, "LayerCAM".
    """
    return F.relu((F.relu(cell_gradients(looked, target)) * looked.features.cells_bchw).sum(1))

"""Channels weighted by the score of the picture seen through them."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.gradient_cam import weighted_sum
from backend.vision.saliency.masked import masked_logits
from backend.vision.saliency.registry import Target
from backend.vision.saliency.stretch import stretch
from backend.vision.saliency.target_score import variant_scores

CHANNELS = 64
"""Channels that are tried by default: a forward pass each."""


@cell_map("scorecam")
def scorecam(looked: Looked, target: Target, channels: int | None = CHANNELS) -> Tensor:
    """(B, h, w): channels weighted by what is recognised through them, then a ReLU.

    channels: see ``channel_weights``. Source: Wang et al. 2020, "Score-CAM", algorithm 1,
    with the ReLU of the paper. Cost: a forward pass a channel.
    """
    weight = channel_weights(looked, target, channels)
    return F.relu(weighted_sum(weight, looked.features.cells_bchw))


def channel_weights(looked: Looked, target: Target, channels: int | None) -> Tensor:
    """(B, C) softmax over channels of the target scores of the picture seen through each.

    channels: how many are tried, those with the largest spread over the cells first (a
    flat one makes an empty mask), the others weigh nothing; None: all, as in the paper.
    The score of an empty picture that the paper subtracts cancels in the softmax.
    The paper leaves open how masks are resized: bilinearly here, each cell as wide as the
    next.
    """
    with torch.inference_mode():
        cells = looked.features.cells_bchw
        scores = cells.new_full(cells.shape[:2], -torch.inf)
        spread = (cells - cells.mean((2, 3), keepdim=True)).square().sum((2, 3))
        tried = min(cells.shape[1], channels or cells.shape[1])
        for row, chosen in enumerate(spread.topk(tried, 1).indices):
            masks = partial(_masks, cells[row, chosen], looked.images_u8.shape[-1])
            logits = masked_logits(looked, row, tried, masks)
            scores[row, chosen] = variant_scores(logits, target, row)
        return torch.softmax(scores, 1)


def _masks(channels_nhw: Tensor, side_px: int, part: Tensor) -> Tensor:
    """(n, S, S) in 0..1, made of the channels at these positions."""
    size_hw = (side_px, side_px)
    return stretch(F.interpolate(channels_nhw[None, part], size_hw, mode="bilinear")[0])

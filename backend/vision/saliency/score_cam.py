"""Channels weighted by the score of the picture seen through them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.vision.architectures import ARCHITECTURES
from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.gradient_cam import weighted_sum
from backend.vision.saliency.registry import Target
from backend.vision.saliency.stretch import stretch
from backend.vision.saliency.target_score import variant_scores

CHANNELS = 64
"""Channels that are tried by default: a forward pass each."""

_BATCH = 16
"""Masked pictures in memory at a time."""


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
    next. Differs: masked pixels are rounded to 8 bits.
    """
    with torch.inference_mode():
        cells = looked.features.cells_bchw
        scores = cells.new_full(cells.shape[:2], -torch.inf)
        spread = (cells - cells.mean((2, 3), keepdim=True)).square().sum((2, 3))
        tried = min(cells.shape[1], channels or cells.shape[1])
        for row, chosen in enumerate(spread.topk(tried, 1).indices):
            for part in chosen.split(_BATCH):
                logits = _seen_through(looked, row, cells[row, part])
                scores[row, part] = variant_scores(logits, target, row)
        return torch.softmax(scores, 1)


def _seen_through(looked: Looked, row: int, channels_nhw: Tensor) -> Tensor:
    """(N, classes) logits of a picture behind masks made of channels (N, h, w)."""
    image, backbone = looked.images_u8[row], looked.backbone
    resized = F.interpolate(channels_nhw[None], tuple(image.shape[1:]), mode="bilinear")[0]
    masks = stretch(resized)[:, None]
    # Covered pixels get the mean colour, which is zero once normalised.
    mean_rgb = ARCHITECTURES.get(backbone.identity.name).mean_rgb
    cover = 255 * image.new_tensor(mean_rgb, dtype=torch.float32)[:, None, None]
    masked = (cover + (image - cover) * masks).round().to(torch.uint8)
    return backbone.logits(backbone.features(masked))

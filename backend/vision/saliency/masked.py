"""What a network says of a picture that it sees only in part.

In float32 on the pixels as the network reads them, so that masks need no rounding and
what is covered is 0: the mean colour of the training pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backend.vision.backbones import Backbone
from backend.vision.look import Looked
from backend.vision.saliency.registry import Target
from backend.vision.saliency.target_score import variant_scores

BATCH = 32
"""Variants of a picture in memory at a time."""

Variants = Callable[[Tensor], Tensor]
"""Positions (n,) int64 to the pixels (n, 3, S, S) of the variants at these."""

Masks = Callable[[Tensor], Tensor]
"""Positions (n,) int64 to the masks (n, S, S) at these: 1 shows a pixel, 0 covers it."""


def variant_logits(backbone: Backbone, count: int, variants: Variants) -> Tensor:
    """(N, classes) float32 scores before the softmax of N variants, at least one.

    Cost: N forward passes in float32, BATCH of them at a time.
    """
    with torch.inference_mode():
        parts = torch.split(torch.arange(count, device=backbone.device), BATCH)
        return torch.cat([backbone.logits_at(variants(part)) for part in parts])


def masked_logits(looked: Looked, row: int, count: int, masks: Masks) -> Tensor:
    """(N, classes) scores of one picture behind each of N masks."""
    pixels = looked.backbone.normalised(looked.images_u8[row : row + 1])

    def variants(part: Tensor) -> Tensor:
        return pixels * masks(part).to(pixels.device)[:, None]

    return variant_logits(looked.backbone, count, variants)


def whole_logits(looked: Looked, row: int) -> Tensor:
    """(1, classes) scores of the picture itself, computed as those of its variants are."""
    pixels = looked.backbone.normalised(looked.images_u8[row : row + 1])
    return variant_logits(looked.backbone, 1, lambda _: pixels)


def masked_drops(looked: Looked, target: Target, row: int, count: int, masks: Masks) -> Tensor:
    """(N,) target score of one picture minus those behind each of N masks."""
    whole = variant_scores(whole_logits(looked, row), target, row)
    return whole - variant_scores(masked_logits(looked, row, count, masks), target, row)

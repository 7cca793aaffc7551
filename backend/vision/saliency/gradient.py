"""Maps of which pixels a class score depends on, all from gradients towards the pixels.

Two ways from three colour channels to one map: how strongly a pixel moves the score (the
largest absolute value), and what it adds to the score or takes from it (the absolute sum).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency import attribution, rectifiers
from backend.vision.saliency.attribution import Scores
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency
from backend.vision.saliency.target_score import target_scores

_SIDE_PX = 224
"""Side at which the networks were trained: at others gradients gather in a few spots."""


@saliency("gradient", box_rule="quantile_grabcut")
def gradient(looked: Looked, target: Target) -> SaliencyMap:
    """Largest absolute derivative over the colour channels, a map of at most 224 x 224 pixels.

    Source: Simonyan et al. 2013, "Deep Inside Convolutional Networks", section 3.1, for
    the target's weighted sum of scores before the softmax. Each picture has its own
    classes. Cost: a float32 forward and backward pass.
    """
    return to_saliency(_strength(_attributed(looked, target, attribution.slope)))


@saliency("guided_backprop", box_rule="quantile_grabcut")
def guided_backprop(looked: Looked, target: Target) -> SaliencyMap:
    """``gradient`` with ``rectifiers.guided``. Raises: ConfigError without a rectifier."""
    return to_saliency(_strength(_attributed(looked, target, attribution.slope, rectifiers.guided)))


@saliency("deconvnet", box_rule="quantile_grabcut")
def deconvnet(looked: Looked, target: Target) -> SaliencyMap:
    """``gradient`` with ``rectifiers.deconvnet``. Raises: ConfigError without a rectifier."""
    return to_saliency(
        _strength(_attributed(looked, target, attribution.slope, rectifiers.deconvnet))
    )


@saliency("smoothgrad", box_rule="quantile_grabcut")
def smoothgrad(looked: Looked, target: Target) -> SaliencyMap:
    """``gradient`` of ``attribution.smoothgrad``: slopes are averaged with their signs."""
    return to_saliency(_strength(_attributed(looked, target, attribution.smoothgrad)))


@saliency("input_x_gradient", box_rule="quantile_grabcut")
def input_x_gradient(looked: Looked, target: Target) -> SaliencyMap:
    """What each pixel adds, up or down, by its distance from the mean colour."""
    return to_saliency(_share(_attributed(looked, target, attribution.input_x_gradient)))


@saliency("integrated_gradients", box_rule="quantile_grabcut")
def integrated_gradients(looked: Looked, target: Target) -> SaliencyMap:
    """What each pixel adds, up or down, on the way from a picture of the mean colour.

    The mean colour of the training pictures rather than black: from black, a black pixel
    could never count.
    """
    return to_saliency(_share(_attributed(looked, target, attribution.integrated_gradients)))


def _strength(attributed: Tensor) -> Tensor:
    return attributed.abs().amax(1)


def _share(attributed: Tensor) -> Tensor:
    return attributed.sum(1).abs()


def _attributed(
    looked: Looked,
    target: Target,
    attribute: Callable[[Scores, Tensor], Tensor],
    rule: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    """(B, 3, S, S) signed, S at most 224."""
    pixels = looked.backbone.normalised(_at_training_side(looked.images_u8))
    if not len(pixels):
        return pixels

    def scores(of: Tensor) -> Tensor:
        with rule():
            logits = looked.backbone.logits_at(of)
        return target_scores(logits, target)

    return attribute(scores, pixels)


def _at_training_side(images_u8: Tensor) -> Tensor:
    if images_u8.shape[-1] <= _SIDE_PX:
        return images_u8
    smaller = F.interpolate(
        images_u8.float(), (_SIDE_PX, _SIDE_PX), mode="bilinear", antialias=True
    )
    return smaller.round().clamp(0, 255).to(torch.uint8)

"""Maps of which pixels a class score depends on, all from gradients towards the pixels.

Two ways from three colour channels to one map: how strongly a pixel moves the score (the
largest absolute value, unless ``GradientOptions`` say otherwise), and what it adds to the
score or takes from it (the absolute sum).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked, resized
from backend.vision.options import one_of, yes_no
from backend.vision.saliency import attribution, rectifiers
from backend.vision.saliency.attribution import Scores
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency
from backend.vision.saliency.target_score import target_losses, target_scores

_SIDE_PX = 224
"""Side at which the networks were trained: at others gradients gather in a few spots."""


@dataclass(frozen=True, slots=True)
class GradientOptions:
    """channels: what a pixel's three derivatives become, the largest or their sum.

    of: what is derived, the class score or the cross-entropy loss of the class.
    signed: the derivatives keep their signs; else their absolute values are taken, before
    the channels are joined. "sum" with signs is what tutorials often draw.
    """

    channels: str = one_of("strongest", "sum")
    of: str = one_of("score", "loss")
    signed: bool = yes_no(False)


@saliency("gradient", box_rule="quantile_grabcut", options=GradientOptions)
def gradient(looked: Looked, target: Target, options: GradientOptions) -> SaliencyMap:
    """Largest absolute derivative over the colour channels, a map of at most 224 x 224 pixels.

    Source: Simonyan et al. 2013, "Deep Inside Convolutional Networks", section 3.1, for
    the target's weighted sum of scores before the softmax. Each picture has its own
    classes. The options lead away from the paper. Cost: a float32 forward and backward pass.
    """
    slopes = attributed(looked, target, attribution.slope, of=options.of)
    return to_saliency(one_channel(slopes, options))


@saliency("guided_backprop", box_rule="quantile_grabcut", options=GradientOptions)
def guided_backprop(looked: Looked, target: Target, options: GradientOptions) -> SaliencyMap:
    """``gradient`` with ``rectifiers.guided``. Raises: ConfigError without a rectifier."""
    slopes = attributed(looked, target, attribution.slope, rectifiers.guided, of=options.of)
    return to_saliency(one_channel(slopes, options))


@saliency("deconvnet", box_rule="quantile_grabcut", options=GradientOptions)
def deconvnet(looked: Looked, target: Target, options: GradientOptions) -> SaliencyMap:
    """``gradient`` with ``rectifiers.deconvnet``. Raises: ConfigError without a rectifier."""
    slopes = attributed(looked, target, attribution.slope, rectifiers.deconvnet, of=options.of)
    return to_saliency(one_channel(slopes, options))


@saliency("smoothgrad", box_rule="quantile_grabcut", options=GradientOptions)
def smoothgrad(looked: Looked, target: Target, options: GradientOptions) -> SaliencyMap:
    """``gradient`` of ``attribution.smoothgrad``: slopes are averaged with their signs."""
    slopes = attributed(looked, target, attribution.smoothgrad, of=options.of)
    return to_saliency(one_channel(slopes, options))


@saliency("input_x_gradient", box_rule="quantile_grabcut")
def input_x_gradient(looked: Looked, target: Target) -> SaliencyMap:
    """What each pixel adds, up or down, by its distance from the mean colour."""
    return to_saliency(_share(attributed(looked, target, attribution.input_x_gradient)))


@saliency("integrated_gradients", box_rule="quantile_grabcut")
def integrated_gradients(looked: Looked, target: Target) -> SaliencyMap:
    """What each pixel adds, up or down, on the way from a picture of the mean colour.

    The mean colour of the training pictures rather than black: from black, a black pixel
    could never count.
    """
    return to_saliency(_share(attributed(looked, target, attribution.integrated_gradients)))


def one_channel(attributed_bchw: Tensor, options: GradientOptions) -> Tensor:
    """(B, H, W): the colour channels joined as the options say."""
    values = attributed_bchw if options.signed else attributed_bchw.abs()
    return values.sum(1) if options.channels == "sum" else values.amax(1)


def _share(attributed_bchw: Tensor) -> Tensor:
    return attributed_bchw.sum(1).abs()


def attributed(
    looked: Looked,
    target: Target,
    attribute: Callable[[Scores, Tensor], Tensor],
    rule: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    of: str = "score",
) -> Tensor:
    """(B, 3, S, S) signed, S at most 224.

    attribute: one of ``attribution``. rule: one of ``rectifiers``. of: as in
    ``GradientOptions``; what comes from the loss is scaled to a largest absolute value of 1
    a picture, because the loss of a sure class has next to no slope.
    """
    side = min(looked.images_u8.shape[-1], _SIDE_PX)
    pixels = looked.backbone.normalised(resized(looked.images_u8, side))
    if not len(pixels):
        return pixels
    explained = target_losses if of == "loss" else target_scores

    def scores(of_pixels: Tensor) -> Tensor:
        with rule():
            logits = looked.backbone.logits_at(of_pixels)
        return explained(logits, target)

    found = attribute(scores, pixels)
    if of == "loss":
        largest = found.abs().amax((1, 2, 3), keepdim=True)
        found = found / largest.clamp_min(torch.finfo(found.dtype).tiny)
    return found

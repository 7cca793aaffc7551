"""Image-specific class saliency: which pixels a class score depends on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency

_SIDE_PX = 224
"""Side at which the networks were trained: at others gradients gather in a few spots."""


@saliency("gradient", box_rule="quantile_grabcut")
def gradient(looked: Looked, target: Target) -> SaliencyMap:
    """Largest absolute derivative over the colour channels, a map of at most 224 x 224 pixels.

    Source: Simonyan et al. 2013, "Deep Inside Convolutional Networks", section 3.1, for
    the target's weighted sum of scores before the softmax. Each picture has its own
    classes; as no picture's score depends on another's pixels, one backward pass of the
    sum serves the batch. Cost: a float32 forward and backward pass.
    """
    if not len(looked):
        return to_saliency(looked.images_u8[:, 0].float())
    pixels, logits = looked.backbone.differentiable_logits(_at_training_side(looked.images_u8))
    # The target may have been computed in inference mode, which autograd would refuse.
    chosen = logits.gather(1, target.class_index.clone())
    (slope,) = torch.autograd.grad((chosen * target.weight.clone()).sum(), pixels)
    return to_saliency(slope.abs().amax(1))


def _at_training_side(images_u8: Tensor) -> Tensor:
    if images_u8.shape[-1] <= _SIDE_PX:
        return images_u8
    smaller = F.interpolate(
        images_u8.float(), (_SIDE_PX, _SIDE_PX), mode="bilinear", antialias=True
    )
    return smaller.round().clamp(0, 255).to(torch.uint8)

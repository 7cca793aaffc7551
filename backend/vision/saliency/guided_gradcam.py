"""Where the class is, in the detail of its pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency import attribution, rectifiers
from backend.vision.saliency.gradient import GradientOptions, attributed, one_channel
from backend.vision.saliency.gradient_cam import gradcam
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency


@saliency("guided_gradcam", box_rule="quantile_grabcut")
def guided_gradcam(looked: Looked, target: Target) -> SaliencyMap:
    """Largest absolute value over the colour channels of ``located_slopes``.

    Cost: that of guided_backprop and of gradcam. Raises: ConfigError without a rectifier.
    """
    return to_saliency(one_channel(located_slopes(looked, target), GradientOptions()))


def located_slopes(looked: Looked, target: Target) -> Tensor:
    """(B, 3, S, S) guided backpropagation times Grad-CAM, brought to its side bilinearly.

    Signed, S at most 224. Source: Selvaraju et al. 2017, "Grad-CAM", section 3.2, where the
    Grad-CAM map is that of equations 1 and 2.
    """
    slopes = attributed(looked, target, attribution.slope, rectifiers.guided)
    where = gradcam(looked, target)[:, None]
    if not len(slopes):
        return slopes
    return slopes * F.interpolate(where, tuple(slopes.shape[2:]), mode="bilinear")

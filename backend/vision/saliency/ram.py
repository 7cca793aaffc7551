"""Regression activation maps."""

from __future__ import annotations

from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cam import activation
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target


@cell_map("ram")
def ram(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): what each cell adds to the value of a regression, by sign.

    Bright cells raise the value, dark ones lower it; there is no ReLU, so that both are
    seen. The classes of a backbone that ``regression_backbone`` made are the values learned
    for Rating and Number controls; of a class of the network it is the map of ``cam``,
    which cuts nothing off either.
    Source: Wang & Yang 2017 ("Diabetic Retinopathy Detection via Deep Convolutional
    Networks for Discriminative Localization and Visual Explanation", eq. 4), the class
    activation map (Zhou et al. 2016) of a linear regression. Cost: as ``cam``.
    """
    return activation(looked, target)

"""What the score loses behind a patch that moves over the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.masked import masked_drops
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.sliding_window import WindowOptions
from backend.vision.saliency.stretch import to_saliency


@saliency("occlusion", box_rule="threshold", options=WindowOptions)
def occlusion(looked: Looked, target: Target, options: WindowOptions) -> SaliencyMap:
    """``occlusion_drops``, stretched: patches that speak against the target are lowest."""
    return to_saliency(occlusion_drops(looked, target, options))


def occlusion_drops(looked: Looked, target: Target, options: WindowOptions) -> Tensor:
    """(B, S, S) target score minus that behind a patch, mean over the patches on a pixel.

    The patch has the mean colour of the training pictures. Source: Zeiler and Fergus 2014,
    "Visualizing and Understanding Convolutional Networks", section 4.2, whose gray square
    it is; differs: the score before the softmax, and its loss instead of what is left.
    Cost: a forward pass a place and one more, 82 by default and at most 1522.
    """
    with torch.inference_mode():
        windows = options.windows(looked.images_u8.shape[-1])
        drops = torch.zeros_like(looked.images_u8[:, 0], dtype=torch.float32)
        for row in range(len(looked)):
            lost = masked_drops(looked, target, row, len(windows), windows.masks)
            drops[row] = windows.mean_over_places(lost)
        return drops

"""A head slid over the cells as a convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.vision.architectures import DenseHead, Head
from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target
from backend.vision.saliency.target_score import variant_scores


@cell_map("fully_convolutional")
def fully_convolutional(looked: Looked, target: Target) -> Tensor:
    """(B, h, w) score of the target in the window of cells around each cell.

    A window is what the head's layers were made for: 7 x 7 cells of VGG16, whose three
    linear layers thus become convolutions of 7 x 7, 1 x 1 and 1 x 1; one cell behind every
    other head. The cells are padded with zeros to one window a cell, which at a side of
    288 pixels makes 9 x 9 values of VGG16, of which the inner 3 x 3 need no padding; a
    larger side (or ``Views.scales``) makes windows that see less of the picture each.
    Behind a mean and a linear layer, or SqueezeNet's convolution, it is ``cam`` up to one
    number a picture.
    Source: Sermanet et al. 2014, "OverFeat", section 3.5; Oquab et al. 2015, "Is object
    localization for free?". Differs: those do not pad.
    Cost: a pass of the head a cell.
    """
    cells = looked.features.cells_bchw
    found = cells.new_empty((len(cells), *cells.shape[2:]))
    with torch.inference_mode():
        # A picture at a time: the windows of VGG16 hold its cells 49 times.
        for row, cells_chw in enumerate(cells):
            logits = slid(looked.backbone.head, cells_chw)
            found[row] = variant_scores(logits, target, row).view(found.shape[1:])
    return found


def slid(head: Head, cells_chw: Tensor) -> Tensor:
    """(h w, classes) logits of the window around each cell, row by row.

    Of a window of even side, the cell is the one after the middle.
    """
    side = head.grid if isinstance(head, DenseHead) else 1
    before, behind = side // 2, (side - 1) // 2
    padded = F.pad(cells_chw, (before, behind, before, behind))
    windows = F.unfold(padded[None], side)[0].T.reshape(-1, len(cells_chw), side, side)
    logits: Tensor = head(windows)
    return logits

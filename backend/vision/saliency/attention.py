"""How strongly a network answers to each place, whatever the class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.options import within
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stage import stage_of, stage_option
from backend.vision.saliency.stretch import to_saliency


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """stage: counted back from the last cells. power: of the absolute activations."""

    stage: int = stage_option()
    power: float = within(2.0, 1.0, 8.0)


def attention_map(cells_bchw: Tensor, power: float) -> Tensor:
    """(B, h, w) sum over channels of |activation| to a power.

    Source: Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", section 3.1.
    """
    return cells_bchw.abs().pow(power).sum(1)


@saliency("attention", box_rule="threshold", options=AttentionOptions)
def attention(looked: Looked, target: Target, options: AttentionOptions) -> SaliencyMap:
    """The attention map of a stage, stretched; the target plays no part.

    With power 2 at the last cells it is the square of ``norm``. Cost: next to nothing at
    the last cells; an earlier stage costs a forward pass. Raises: LabelConfigInvalid for a
    stage that the backbone does not have.
    """
    with torch.inference_mode():
        cells = looked.features.cells_bchw
        if options.stage:
            cells = stage_of(looked.backbone.tapped(looked.images_u8)[1], options.stage)
        return to_saliency(attention_map(cells, options.power))

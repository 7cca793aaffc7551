"""Which cells win when a class hands its probability down the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.excitation_rules import Excitation
from backend.vision.saliency.registry import Target
from backend.vision.saliency.stage import stage_of, stage_option


@dataclass(frozen=True, slots=True)
class ExcitationOptions:
    """stage: where the map is read, counted back from the last cells."""

    stage: int = stage_option()


@cell_map("excitation_backprop", options=ExcitationOptions)
def excitation_backprop(looked: Looked, target: Target, options: ExcitationOptions) -> Tensor:
    """(B, h, w) marginal winning probability of each cell, summed over channels.

    The prior over classes is the target's weights, scaled to sum to 1; so does the map, but
    for what ``Excitation`` says gets lost. Source: Zhang et al. 2016, "Top-down Neural
    Attention by Excitation Backprop". Differs: the last cells are the default, the paper
    reads finer layers. Cost: as gradcam; an earlier stage costs a float32 forward pass and
    some two backward passes. Raises: ConfigError for a network with calls that have no
    rule, LabelConfigInvalid for a stage that the backbone does not have.
    """
    return winning_probability(looked, target, options.stage).sum(1)


@cell_map("contrastive_excitation", options=ExcitationOptions)
def contrastive_excitation(looked: Looked, target: Target, options: ExcitationOptions) -> Tensor:
    """(B, h, w) the same less what the dual units of the classes hand down, above 0.

    Source: the same, section 3.3. Both are normalised at the last cells, and the
    difference goes down as one. Cost and errors: the same.
    """
    return winning_probability(looked, target, options.stage, contrastive=True).sum(1).clamp_min(0)


def winning_probability(
    looked: Looked, target: Target, stage: int = 0, *, contrastive: bool = False
) -> Tensor:
    """(B, C, h, w) marginal winning probabilities at a stage; of no batch with another.

    contrastive: less those of the dual units, which makes them signed.
    """
    with torch.inference_mode(False), torch.enable_grad():
        if stage == 0:
            # Copied, as autograd refuses what was computed in inference mode.
            cells = level = looked.features.cells_bchw.clone().requires_grad_(True)
        else:
            pixels = looked.backbone.normalised(looked.images_u8).requires_grad_(True)
            with Excitation():
                cells, taps = looked.backbone.tapped_at(pixels)
            level = stage_of(taps, stage)
        with Excitation() as rules:
            logits = looked.backbone.head(cells)
        prior = _prior(logits.detach(), target)
        (won,) = torch.autograd.grad(logits, cells, prior)
        if contrastive:
            with Excitation(turned=rules.layers):
                against = looked.backbone.head(cells)
            won = won - torch.autograd.grad(against, cells, prior)[0]
        (found,) = torch.autograd.grad(cells, level, won)
    return found


def _prior(logits: Tensor, target: Target) -> Tensor:
    """(B, classes) the target's weights, scaled to sum to 1."""
    weight = target.weight.to(logits).clone()
    index = target.class_index.to(logits.device).clone()
    prior = torch.zeros_like(logits).scatter_add_(1, index, weight)
    return prior / prior.sum(1, keepdim=True).clamp_min(torch.finfo(prior.dtype).tiny)

"""The smallest part of a picture without which the target is no longer recognised."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.options import within
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency
from backend.vision.saliency.target_score import target_scores

_SEED = 0

_RATE = 0.1
"""Of Adam: a cell can go from shown to hidden in ten steps."""

_REACH_CELLS = 0.625
"""Standard deviation of a mask's cell in the picture: 5 pixels where a cell has 8."""


@dataclass(frozen=True, slots=True)
class PerturbationOptions:
    """steps: of Adam. grid: cells of the mask on a side. area: weight of the share that is
    hidden. roughness: weight of the mean cubed difference between neighbouring cells.
    blur: standard deviation of what hides, and jitter: how far the picture is moved at most
    from step to step, as shares of its side.

    Roughness is the paper's 1e-2 times its 28 x 28 cells, a mean here and a sum there; its
    1e-4 would be an area of 0.08, and more of it shows in few steps what can be shown. Blur
    and jitter are its 10 and 4 of 224 pixels.
    """

    steps: int = within(40, 1, 500)
    grid: int = within(28, 4, 64)
    area: float = within(0.3, 0.0, 10.0)
    roughness: float = within(8.0, 0.0, 1000.0)
    blur: float = within(0.045, 0.01, 0.5)
    jitter: float = within(0.018, 0.0, 0.1)


@saliency("meaningful_perturbation", box_rule="threshold", options=PerturbationOptions)
def meaningful_perturbation(
    looked: Looked, target: Target, options: PerturbationOptions
) -> SaliencyMap:
    """``learned_hiding``, stretched."""
    return to_saliency(learned_hiding(looked, target, options))


def learned_hiding(looked: Looked, target: Target, options: PerturbationOptions) -> Tensor:
    """(B, grid, grid) in 0..1: how far each cell is blurred away, 0 where the picture shows.

    Adam lowers the target's probability behind the blur and the area that it takes. Source:
    Fong and Vedaldi 2017, "Interpretable Explanations of Black Boxes by Meaningful
    Perturbation", equation 4. Differs: the probability is divided by that of the whole
    picture, so that the weights suit every class; all is hidden at first instead of the best
    disc, as a sure network has no slope where all shows; 40 steps instead of 300; the jitter
    wraps round, its draws are the same for every picture.
    Cost: a forward and backward pass a step and a forward pass, 40 by default, at most 500.
    """
    hiding = looked.features.cells_bchw.new_zeros((len(looked), options.grid, options.grid))
    # One after the other: Adam makes much of the rounding by which batches differ.
    for row in range(len(looked)):
        hiding[row] = _learned(looked, target, row, options)
    return hiding


def _learned(looked: Looked, target: Target, row: int, options: PerturbationOptions) -> Tensor:
    """(grid, grid) of one picture."""
    backbone, image = looked.backbone, looked.images_u8[row : row + 1]
    with torch.inference_mode(False), torch.enable_grad():
        # A clone, because pixels made in inference mode could not enter a graph.
        sharp = backbone.normalised(image.clone())
        blurred = backbone.normalised(_blurred(image, options.blur))
        asked = Target(target.class_index[row : row + 1], target.weight[row : row + 1])

        def score(pixels: Tensor) -> Tensor:
            probability = torch.softmax(backbone.logits_at(pixels), 1)
            return target_scores(probability, asked)[0]

        with torch.no_grad():
            whole = score(sharp).abs().clamp_min(torch.finfo(sharp.dtype).tiny)
        finer = _finer(options.grid, sharp)
        shown = sharp.new_zeros((options.grid, options.grid)).requires_grad_(True)
        adam = torch.optim.Adam([shown], lr=_RATE)
        for shift in _shifts(options, sharp.shape[-1]):
            mask = finer @ shown @ finer.T
            seen = (blurred + (sharp - blurred) * mask).roll(shift, (2, 3))
            cost = score(seen) / whole + _size_and_shape(shown, options)
            (shown.grad,) = torch.autograd.grad(cost, shown)
            adam.step()
            with torch.no_grad():
                shown.clamp_(0, 1)
        return 1 - shown.detach()


def _size_and_shape(shown: Tensor, options: PerturbationOptions) -> Tensor:
    """() what the hidden area and its outline cost."""
    steps = shown.diff(dim=0).abs().pow(3).mean() + shown.diff(dim=1).abs().pow(3).mean()
    return options.area * (1 - shown).mean() + options.roughness * steps


def _finer(grid: int, like: Tensor) -> Tensor:
    """(S, grid): how much each row (or column) of a picture has of each row of cells."""
    side = like.shape[-1]
    at = (torch.arange(side, device=like.device) + 0.5) * grid / side
    away = at[:, None] - (torch.arange(grid, device=like.device) + 0.5)
    return torch.softmax(-(away / _REACH_CELLS).square() / 2, 1).to(like.dtype)


def _blurred(image_u8: Tensor, share: float) -> Tensor:
    """(1, 3, S, S) uint8, computed on the host, alike for every device."""
    rgb = np.ascontiguousarray(image_u8[0].permute(1, 2, 0).cpu().numpy())
    soft = cv2.GaussianBlur(rgb, (0, 0), share * len(rgb))
    return torch.from_numpy(soft).permute(2, 0, 1)[None]


def _shifts(options: PerturbationOptions, side_px: int) -> list[tuple[int, int]]:
    """Rows and columns by which the picture is moved at each step."""
    most = round(options.jitter * side_px)
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(-most, most + 1, (options.steps, 2), generator=generator)
    return [(y, x) for y, x in drawn.tolist()]

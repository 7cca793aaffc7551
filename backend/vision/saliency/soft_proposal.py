"""Class activation maps of cells weighted by how much they stand out from their surroundings."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from backend.vision.backbones import Features
from backend.vision.look import Looked
from backend.vision.saliency.cam import activation
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target

REACH = 0.15
"""Standard deviation of the distance between neighbours, as a share of the grid's side."""


@cell_map("soft_proposal")
def soft_proposal(looked: Looked, target: Target) -> Tensor:
    """(B, h, w) ``cam`` of the cells times their proposal.

    Source: Zhu et al. 2017, "Soft Proposal Networks for Weakly Supervised Object
    Localization", the sections on generating and coupling proposals. Differs: the network
    was not trained with its proposals, and they are scaled to a mean of 1, because our
    heads average where the paper's sum. Cost: distances between all pairs of cells.
    """
    with torch.inference_mode():
        cells = looked.features.cells_bchw
        share = proposal(cells)
        scale = share * (share.shape[1] * share.shape[2])
        coupled = Features(cells * scale[:, None], looked.features.size_px)
        return activation(replace(looked, features=coupled), target)


def proposal(cells_bchw: Tensor) -> Tensor:
    """(B, h, w) where a random walk over ``edges`` is in the long run; sums to 1 a picture.

    Edges go both ways with one weight, so a cell's share is the sum of its edges over that
    of all cells': where the paper's power iteration ends, without iterating. Cells that
    are all alike have no edges and get equal shares.
    """
    count, _, height, width = cells_bchw.shape
    degree = edges(cells_bchw).sum(2)
    total = degree.sum(1, keepdim=True)
    alike = torch.full_like(degree, 1 / max(height * width, 1))
    return torch.where(total > 0, degree / total, alike).reshape(count, height, width)


def edges(cells_bchw: Tensor) -> Tensor:
    """(B, h w, h w) symmetric weights: how unlike two cells are, less the farther apart.

    Euclidean distance of the features times exp(-d^2 / (2 s^2)) for cells d apart, with s
    REACH of the grid's side. Divided by its sum a column is a cell's chances of going
    anywhere. Source: as ``soft_proposal``.
    """
    height, width = cells_bchw.shape[2:]
    rows = cells_bchw.flatten(2).transpose(1, 2)
    unlike = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    down, across = torch.arange(height), torch.arange(width)
    place = torch.cartesian_prod(down, across).to(rows)
    apart = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    spread = REACH * (height * width) ** 0.5
    return unlike * torch.exp(-(apart**2) / (2 * spread**2))

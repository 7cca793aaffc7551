"""Where something is, whatever it is: maps for pictures of no known class."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency


def feature_norm(cells_bchw: Tensor) -> Tensor:
    """(B, h, w) Euclidean length of each cell: networks answer objects more than ground.

    cells_bchw: (B, C, h, w); B may be 0.
    """
    if not len(cells_bchw):
        return cells_bchw.sum(1)
    # A picture at a time: its squares stay in the processor's cache. The norm of a whole
    # batch along the channels takes four to eight times as long.
    return torch.stack([cells.square().sum(0) for cells in cells_bchw]).sqrt()


@saliency("norm", box_rule="threshold")
def norm(looked: Looked, target: Target) -> SaliencyMap:
    """The feature norm, stretched; the target plays no part."""
    with torch.inference_mode():
        return to_saliency(feature_norm(looked.features.cells_bchw))


@saliency("objectness", box_rule="threshold")
def objectness(looked: Looked, target: Target) -> SaliencyMap:
    """How far each cell is from what lies along the border; the target plays no part.

    A picture of one colour gives zeros. Cost: paths between all cells of a picture, h w
    steps over (h w, h w).
    """
    with torch.inference_mode():
        far = from_background(looked.features.cells_bchw)
        shown = torch.tensor(looked.shows_something(), dtype=far.dtype, device=far.device)
        return to_saliency(far * shown[:, None, None])


def from_background(cells_bchw: Tensor) -> Tensor:
    """(B, h, w) Euclidean distance of each cell from the mean of the border's background.

    A cell of the border weighs in the mean as much as it is background, so that a thing
    which the border cuts through is not taken for ground. Each cell belongs softly to the
    region of cells that are alike on a path of neighbours; ground has long borders for its
    area, things have short ones or none.
    Source: Zhu et al. 2014, "Saliency Optimization from Robust Background Detection",
    equations 2 to 4 and 6, with 1 for the spread of equation 6. Differs: cells of a network
    instead of superpixels, and distances in units of the mean distance from a cell to its
    most similar neighbour, by which Wei et al. 2012, "Geodesic Saliency Using Background
    Priors", section 3.1, tell small distances; no contrast and no optimisation after it.
    """
    height, width = cells_bchw.shape[2:]
    edge, near = _border(height, width), _neighbours(height, width)
    edge, near = edge.to(cells_bchw.device), near.to(cells_bchw.device)
    rows = cells_bchw.flatten(2).transpose(1, 2)
    # Without the product of matrices, by which equal cells come out apart.
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    # Ground on both sides of a thing is one ground, so border cells are neighbours too.
    way = _shortest_ways(apart.masked_fill(~(near | (edge[:, None] & edge)), torch.inf))
    # A picture of one cell has no neighbours, hence no unit and no distances either.
    unit = apart.masked_fill(~near, torch.inf).amin(2).mean(1)[:, None, None]
    alike = torch.exp(-((way / unit.clamp_min(1e-12)).square()) / 2)
    connected = alike[:, :, edge].sum(2) / alike.sum(2).sqrt()
    weight = (1 - torch.exp(-connected.square() / 2)) * edge
    ground = (weight / weight.sum(1, keepdim=True))[:, None] @ rows
    far: Tensor = torch.linalg.vector_norm(rows - ground, dim=2)
    # What the rounding of the mean can explain is no distance.
    far = far.masked_fill(far <= 1e-5 * torch.linalg.vector_norm(ground, dim=2), 0)
    return far.view(-1, height, width)


def _border(height: int, width: int) -> Tensor:
    """(h w,) bool: whether a cell, counted row by row, lies at the border."""
    inside = torch.zeros((height, width), dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    return ~inside.flatten()


def _neighbours(height: int, width: int) -> Tensor:
    """(h w, h w) bool: which cells touch, by a side or a corner; none touches itself."""
    y, x = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    step = torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs())
    return step == 1


def _shortest_ways(step: Tensor) -> Tensor:
    """(B, n, n) lengths of the shortest paths over steps (B, n, n), inf where there is none.

    Source: Floyd 1962, "Algorithm 97: Shortest path".
    """
    way = step.clone()
    way.diagonal(dim1=1, dim2=2).zero_()
    for over in range(way.shape[1]):
        way = torch.minimum(way, way[:, :, over, None] + way[:, None, over])
    return way

"""What pictures of one class have in common: deep descriptor transforming."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target


@cell_map("ddt")
def ddt(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): projection of each cell, from the mean cell, onto the first component.

    Mean and component are those of the pictures which share a number in ``target.group``;
    where the target has no groups, of each picture alone. Its classes play no part. A
    picture that lies below zero everywhere shows nothing of what its group has in common:
    its map is zeros, as in the paper.
    Source: Wei et al. 2017, "Deep Descriptor Transforming for Image Co-Localization",
    equations 1 to 3 (and 2019, "Unsupervised object discovery and co-localization by deep
    descriptor transforming"). Differs: the last cells alone; the sign is chosen, see
    ``first_component``; what lies below zero, the paper's background, keeps its values, as
    the box rule has a threshold of its own and finds more with them.
    Cost: an eigenvector of (h w, h w) a picture; of a group, of its cells by cells or of
    (C, C), whichever is smaller.
    """
    cells = looked.features.cells_bchw
    with torch.inference_mode():
        group = torch.arange(len(cells)) if target.group is None else target.group
        found = cells.new_zeros((len(cells), *cells.shape[2:]))
        for number in set(group.tolist()):
            rows = (group == number).nonzero()[:, 0].to(cells.device)
            found[rows] = projected(cells[rows], *first_component(cells[rows]))
        return found * (found.amax((1, 2), keepdim=True) > 0)


def first_component(cells_bchw: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) mean and (C,) first principal component, of length 1, of all cells of B pictures.

    A component has no sign of its own: the one is taken with which projection and length
    of the cells rise together (covariance not below 0), as networks answer objects more
    than ground. B >= 1.
    """
    rows_nc = cells_bchw.transpose(0, 1).flatten(1).T
    mean = rows_nc.mean(0)
    centred = rows_nc - mean
    count, channels = centred.shape
    # The two products share their largest eigenvalue, and their vectors turn into each other.
    if count < channels:
        component = centred.T @ torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1]
    else:
        component = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    length = torch.linalg.vector_norm(component)
    component = component / length.clamp_min(torch.finfo(length.dtype).tiny)
    norm = torch.linalg.vector_norm(rows_nc, dim=1)
    rising = (centred @ component) @ (norm - norm.mean())
    return mean, torch.where(rising < 0, -component, component)


def projected(cells_bchw: Tensor, mean_c: Tensor, component_c: Tensor) -> Tensor:
    """(B, h, w) where each cell lies along a component, from the mean."""
    return torch.einsum("bchw,c->bhw", cells_bchw - mean_c[:, None, None], component_c)

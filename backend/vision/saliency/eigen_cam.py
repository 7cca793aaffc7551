"""The strongest pattern of the last cells, whatever the class."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.vision.look import Looked
from backend.vision.saliency.cell_map import cell_map
from backend.vision.saliency.registry import Target


def first_projection(cells_bchw: Tensor) -> Tensor:
    """(B, h, w) projection of each cell onto the first right singular vector of all cells.

    The cells are not centred. A singular vector has no sign of its own: the one is taken
    with which the mean projection is positive.
    """
    count, _, height, width = cells_bchw.shape
    rows = cells_bchw.flatten(2).transpose(1, 2)
    # rows @ v1 equals s1 * u1, and u1 is the last eigenvector of rows @ rows.T: a matrix of
    # cells by cells, far smaller than the channels that a full decomposition would turn out.
    values, vectors = torch.linalg.eigh(rows @ rows.transpose(1, 2))
    projection = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    upright = torch.where(projection.mean(1, keepdim=True) < 0, -projection, projection)
    return upright.reshape(count, height, width)


@cell_map("eigencam")
def eigencam(looked: Looked, target: Target) -> Tensor:
    """(B, h, w): the first projection; the target plays no part. No ReLU, as in the paper.

    Source: Muhammad and Yeasin 2020, "Eigen-CAM". Cost: an eigenvector of (h w, h w).
    """
    with torch.inference_mode():
        return first_projection(looked.features.cells_bchw)

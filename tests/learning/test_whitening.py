"""Taps made into one grid: against torch's own pooling and interpolation."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from backend.learning.features import PictureFeatures
from backend.learning.whitening import Whitening, fit_whitening, grid_side
from tests.learning.scenes import project


def pictures() -> list[PictureFeatures]:
    _, features = project(4, seed=30)
    return [pair[0] for pair in features.values()]


def by_torch(whitening: Whitening, picture: PictureFeatures, view: int) -> np.ndarray:
    taps = picture.views[view]
    side = grid_side(taps)
    parts = []
    for tap, mean, projection in zip(taps, whitening.means, whitening.projections, strict=True):
        cells = tap.astype(np.float64).reshape(len(mean), -1).T - mean
        square = torch.from_numpy((cells @ projection).T.reshape(1, -1, *tap.shape[1:]).copy())
        if tap.shape[1] > side:
            square = F.adaptive_avg_pool2d(square, side)
        elif tap.shape[1] < side:
            square = F.interpolate(square, (side, side), mode="bilinear", align_corners=False)
        parts.append(square[0].permute(1, 2, 0).numpy())
    return np.concatenate(parts, 2)


def test_a_grid_is_what_torch_makes_of_it() -> None:
    seen = pictures()
    whitening = fit_whitening(seen)
    for view in (0, 1):
        grid = whitening.grid(seen[0].views[view])
        assert grid.dtype == np.float32
        assert grid.shape[2] == whitening.width
        assert np.allclose(grid, by_torch(whitening, seen[0], view), atol=1e-4)


def test_taps_whose_grid_is_no_multiple() -> None:
    random = np.random.RandomState(0)
    taps = tuple(
        random.normal(size=(3, cells, cells)).astype(np.float16) for cells in (9, 7, 6, 5, 3)
    )
    picture = PictureFeatures((taps,), np.zeros(3, np.float16), (10, 10))
    whitening = Whitening(
        tuple(np.zeros(3, np.float32) for _ in taps),
        tuple(np.eye(3, dtype=np.float32) for _ in taps),
    )
    assert np.allclose(whitening.grid(taps), by_torch(whitening, picture, 0), atol=1e-5)


def test_whitened_taps_have_a_variance_of_one() -> None:
    seen = pictures()
    whitening = fit_whitening(seen)
    for number, (mean, projection) in enumerate(
        zip(whitening.means, whitening.projections, strict=True)
    ):
        taps = [taps[number] for picture in seen for taps in picture.views]
        cells = np.concatenate([tap.reshape(len(mean), -1).T for tap in taps]).astype(np.float32)
        energy = np.square((cells - mean) @ projection).sum(1).mean()
        assert np.isclose(energy, 1, rtol=1e-3)

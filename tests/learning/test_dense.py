"""The dense head: targets by hand, sums that add up, the pull towards a start."""

from __future__ import annotations

import numpy as np

from backend.learning.dense import (
    MAPS,
    OUTPUTS,
    DenseSums,
    apply,
    solve,
    targets,
)


def test_no_box_gives_ground_only() -> None:
    found = targets(np.zeros((0, 4), np.float32), 4)
    assert not found.maps.any()
    assert not found.weight.any()


def test_targets_by_hand() -> None:
    # Four cells a side; the box covers the two left columns of the upper half.
    found = targets(np.array([[0, 0, 0.5, 0.5]], np.float32), 4)
    cover = found.maps[:, 0].reshape(4, 4)
    assert cover.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.weight.reshape(4, 4)[:2, :2].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    # Cell (0, 0) has its middle half a cell from the left and upper side, 1.5 from the others.
    assert np.allclose(found.log_sides[0], np.log([0.5, 0.5, 1.5, 1.5]), atol=1e-6)
    centre = found.maps[:, 1].reshape(4, 4)
    assert np.isclose(centre[0, 0], centre[1, 1])
    assert centre[0, 0] > centre[0, 2] > centre[0, 3]


def test_half_covered_cells_count_half() -> None:
    found = targets(np.array([[0, 0, 0.25, 1]], np.float32), 2)
    assert found.maps[:, 0].tolist() == [0.5, 0.0, 0.5, 0.0]
    assert not found.weight.any(), "no cell is more than half inside"


def test_sums_add_up() -> None:
    random = np.random.RandomState(0)
    grids = [random.normal(size=(4, 4, 3)).astype(np.float32) for _ in range(3)]
    boxes = [np.array([[0, 0, 0.6, 0.7]], np.float32), np.array([[0.2, 0.1, 0.9, 0.9]], np.float32)]
    wanted = [targets(box, 4) for box in (boxes[0], boxes[1], boxes[0])]
    together = DenseSums.of(grids, wanted)
    first, second, third = (DenseSums.of([g], [w]) for g, w in zip(grids, wanted, strict=True))
    apart = first + second + third
    assert np.allclose(together.object_xx, apart.object_xx, atol=1e-4)
    assert np.allclose(together.ground_xz, apart.ground_xz, atol=1e-4)
    assert np.allclose(together.side_xd, apart.side_xd, atol=1e-4)
    assert np.isclose(together.side_mass, apart.side_mass)


def test_ridge_by_another_way() -> None:
    """The closed form against least squares on stacked, weighted rows."""
    random = np.random.RandomState(1)
    grid = random.normal(size=(6, 6, 4)).astype(np.float32)
    wanted = targets(np.array([[0.1, 0.2, 0.8, 0.9]], np.float32), 6)
    sums = DenseSums.of([grid], [wanted])
    start = random.normal(size=(5, OUTPUTS)).astype(np.float32)
    found = solve(sums, start, 0.7, 0.9)

    x = np.concatenate([grid.reshape(36, 4), np.ones((36, 1))], 1)
    y = wanted.maps[:, 0]
    weight = y / (2 * y.sum()) + (1 - y) / (2 * (1 - y).sum())
    ridge = 0.7 * np.diag((x * weight[:, None]).T @ x).mean()
    rows = np.concatenate([x * np.sqrt(weight)[:, None], np.sqrt(ridge) * np.eye(5)])
    # Logits are twice the regression on -1..1.
    right = np.concatenate(
        [2 * (2 * wanted.maps - 1) * np.sqrt(weight)[:, None], np.sqrt(ridge) * start[:, :MAPS]]
    )
    assert np.allclose(found[:, :MAPS], np.linalg.lstsq(rows, right, rcond=None)[0], atol=1e-4)


def test_a_strong_pull_stays_at_the_start() -> None:
    random = np.random.RandomState(2)
    grid = random.normal(size=(6, 6, 4)).astype(np.float32)
    sums = DenseSums.of([grid], [targets(np.array([[0.1, 0.2, 0.8, 0.9]], np.float32), 6)])
    start = random.normal(size=(5, OUTPUTS)).astype(np.float32)
    assert np.allclose(solve(sums, start, 1e6, 1e6), start, atol=1e-3)


def test_views_are_averaged_and_distances_are_in_picture_units() -> None:
    weights = np.zeros((2, OUTPUTS), np.float32)
    weights[0, 0] = 1.0  # the object logit copies the only number
    small, large = np.ones((2, 2, 1), np.float32), np.full((4, 4, 1), 3.0, np.float32)
    maps = apply(weights, [small, large])
    assert maps.logits_ggm.shape == (4, 4, MAPS)
    assert np.allclose(maps.logits_ggm[..., 0], 2.0)
    # A logarithm of zero cells is one cell: 1/2 of the picture in one view, 1/4 in the other.
    assert np.allclose(maps.log_sides_gg4, (np.log(1 / 2) + np.log(1 / 4)) / 2)

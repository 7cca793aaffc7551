"""Maps from features or pixels alone and the slid head, against naive programs and by hand."""

from __future__ import annotations

import copy
import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from backend.errors import ShapeError
from backend.vision import saliency
from backend.vision.architectures import DenseHead
from backend.vision.backbones import Backbone, Features
from backend.vision.look import Looked, look, prepare
from backend.vision.saliency import Target
from backend.vision.saliency.descriptor_transform import ddt, first_component, projected
from backend.vision.saliency.fully_convolutional import fully_convolutional, slid
from backend.vision.saliency.objectness import from_background
from backend.vision.saliency.spectral_residual import residual
from backend.vision.saliency.stretch import stretch
from tests.vision.conftest import drawn_picture, random_images, seeded_backbone

Doubles = npt.NDArray[np.float64]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def looked_at(backbone: Backbone, images_u8: Tensor) -> Looked:
    return look(backbone, images_u8.permute(0, 2, 3, 1).contiguous().numpy())


def with_cells(backbone: Backbone, cells_bchw: Tensor) -> Looked:
    """Pictures of noise that are said to have these cells."""
    images = random_images(len(cells_bchw), 32)
    return Looked(backbone, images, Features(cells_bchw, 32), torch.zeros(len(cells_bchw), 1000))


def target(count: int, group: Tensor | None = None) -> Target:
    index = torch.arange(count)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32), group)


def planted(inside: Tensor, ground: Tensor, where: tuple[slice, slice], seed: int = 0) -> Tensor:
    """(1, C, 8, 8) cells of ground with a thing in it, both with a little noise."""
    cells = ground[:, None, None].repeat(1, 8, 8)
    cells[(slice(None), *where)] = inside[:, None, None]
    return (cells + 0.05 * noise(*cells.shape, seed=seed).abs())[None]


def plan(where: tuple[slice, slice]) -> Tensor:
    """(8, 8) bool: where the thing is."""
    thing = torch.zeros((8, 8), dtype=torch.bool)
    thing[where] = True
    return thing


MIDDLE = (slice(2, 5), slice(3, 6))


# Deep descriptor transforming


@pytest.mark.parametrize(
    "shape", [pytest.param((2, 40, 3, 4), id="few-cells"), pytest.param((3, 5, 4, 4), id="many")]
)
def test_the_component_is_that_of_a_naive_analysis(shape: tuple[int, ...]) -> None:
    cells = noise(*shape).abs()
    rows = np.array(
        [cells[b, :, y, x].numpy() for b, y, x in product(*map(range, (shape[0], *shape[2:])))],
        np.float64,
    )
    naive = np.linalg.svd(rows - rows.mean(0))[2][0]
    lengths = np.linalg.norm(rows, axis=1)
    if np.cov((rows - rows.mean(0)) @ naive, lengths)[0, 1] < 0:
        naive = -naive
    mean, component = first_component(cells)
    np.testing.assert_allclose(mean, rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(component, naive, atol=2e-4)
    along = projected(cells, mean, component)
    np.testing.assert_allclose(along.flatten(), (rows - rows.mean(0)) @ naive, atol=1e-3)


def test_the_sign_makes_long_cells_positive() -> None:
    # Along the first channel: a long cell far down, short cells a little up.
    cells = torch.tensor([[-9.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.1]]).view(1, 2, 2, 2)
    mean, component = first_component(cells)
    assert projected(cells, mean, component).flatten()[0] > 5


def test_ddt_finds_what_a_group_has_in_common(tiny: Backbone) -> None:
    ground, thing, other = torch.eye(6)[0], 2 * torch.eye(6)[1], 2 * torch.eye(6)[2]
    places = [MIDDLE, (slice(0, 3), slice(0, 4)), (slice(5, 8), slice(4, 8))]
    cells = torch.cat(
        [planted(thing, ground, at, seed) for seed, at in enumerate(places)]
        # The fourth shows something else, over a place of its own.
        + [planted(other, ground, (slice(0, 2), slice(6, 8)), 3)]
    )
    looked = with_cells(tiny, cells)
    found = ddt(looked, target(4, torch.zeros(4, dtype=torch.int64)))
    for row, at in enumerate(places):
        assert torch.equal(found[row] > 0.5, plan(at))
    assert found[3, plan((slice(0, 2), slice(6, 8)))].max() < found[0, plan(MIDDLE)].min() / 2
    # Alone, each picture's own thing is what varies most in it.
    alone = ddt(looked, target(4))
    assert torch.equal(alone[3] > 0.5, plan((slice(0, 2), slice(6, 8))))


def test_a_picture_without_what_its_group_has_in_common_shows_nothing(tiny: Backbone) -> None:
    ground, thing = torch.eye(6)[0], 2 * torch.eye(6)[1]
    half = (slice(0, 8), slice(0, 5))
    nothing = planted(ground, ground, MIDDLE, 9)
    cells = torch.cat([planted(thing, ground, half, seed) for seed in range(3)] + [nothing])
    group = torch.zeros(4, dtype=torch.int64)
    drawn = saliency.get("ddt").draw(with_cells(tiny, cells), target(4, group)).values_bhw
    assert drawn[:3].max() == 1
    assert drawn[3].max() == 0


def test_ddt_does_not_depend_on_pictures_outside_the_group(tiny: Backbone) -> None:
    cells = noise(5, 12, 4, 4).abs()
    looked = with_cells(tiny, cells)
    group = torch.tensor([7, 2, 7, 2, 7])
    found = ddt(looked, target(5, group))
    for number in (7, 2):
        rows = (group == number).nonzero()[:, 0]
        part = looked.select(rows)
        alone = ddt(part, target(len(rows), torch.zeros(len(rows), dtype=torch.int64)))
        torch.testing.assert_close(found[rows], alone)
    singles = torch.cat([ddt(looked.select(torch.tensor([i])), target(1)) for i in range(5)])
    torch.testing.assert_close(ddt(looked, target(5)), singles)
    assert (found - singles).abs().max() > 0.1


def test_a_group_needs_a_number_for_each_picture() -> None:
    with pytest.raises(ShapeError, match="each of 3 pictures"):
        target(3, torch.zeros(2, dtype=torch.int64))


# Objectness


def naive_from_background(cells: Doubles) -> Doubles:
    """The same of one picture (C, h, w), cell by cell."""
    height, width = cells.shape[1:]
    at = list(product(range(height), range(width)))
    rows = [cells[:, y, x] for y, x in at]
    edge = [y in (0, height - 1) or x in (0, width - 1) for y, x in at]
    count = len(at)
    apart = [[float(np.linalg.norm(a - b)) for b in rows] for a in rows]
    touch = [[0 < max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 1 for b in at] for a in at]
    unit = np.mean([min(apart[i][j] for j in range(count) if touch[i][j]) for i in range(count)])
    way = [
        [
            0.0 if i == j else apart[i][j] if touch[i][j] or (edge[i] and edge[j]) else math.inf
            for j in range(count)
        ]
        for i in range(count)
    ]
    for _ in range(count):  # Bellman and Ford: no path has more steps
        way = [
            [
                min(way[i][j], *(way[i][k] + way[k][j] for k in range(count) if touch[k][j]))
                for j in range(count)
            ]
            for i in range(count)
        ]
    weights = []
    for i in range(count):
        alike = [math.exp(-(way[i][j] ** 2) / (2 * unit**2)) for j in range(count)]
        border = sum(alike[j] for j in range(count) if edge[j])
        connected = border / math.sqrt(sum(alike))
        weights.append((1 - math.exp(-(connected**2) / 2)) if edge[i] else 0.0)
    ground = sum(w * row for w, row in zip(weights, rows, strict=True)) / sum(weights)
    return np.array([np.linalg.norm(row - ground) for row in rows]).reshape(height, width)


@pytest.mark.parametrize("size_hw", [(4, 5), (3, 3), (2, 2), (1, 3)], ids=str)
def test_distances_from_the_background_are_those_of_a_naive_program(
    size_hw: tuple[int, int],
) -> None:
    cells = noise(2, 6, *size_hw).abs()
    found = from_background(cells)
    for row in range(2):
        naive = naive_from_background(cells[row].double().numpy())
        np.testing.assert_allclose(found[row], naive, rtol=1e-4)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(MIDDLE, id="inside"),
        pytest.param((slice(4, 8), slice(2, 6)), id="cut-by-one-side"),
        pytest.param((slice(3, 8), slice(0, 5)), id="in-a-corner"),
        pytest.param((slice(0, 8), slice(3, 5)), id="parts-the-ground"),
    ],
)
def test_planted_things_are_far_from_the_background(where: tuple[slice, slice]) -> None:
    ground, thing = 3 * torch.eye(6)[0], 3 * torch.eye(6)[1]
    cells = planted(thing, ground, where)
    found = stretch(from_background(cells))[0]
    assert found[plan(where)].min() > 0.9
    assert found[~plan(where)].max() < 0.1


def test_a_thing_at_the_border_weighs_less_than_its_share_of_it() -> None:
    ground, thing = 3 * torch.eye(6)[0], 3 * torch.eye(6)[1]
    cells = planted(thing, ground, (slice(4, 8), slice(2, 6)))
    edge = torch.ones((8, 8), dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    plain = torch.linalg.vector_norm(cells[0] - cells[0][:, edge].mean(1)[:, None, None], dim=0)
    # The mean over the whole border lies between ground and thing, which take 4 of its 28 cells.
    ground_at = ~plan((slice(4, 8), slice(2, 6)))
    assert from_background(cells)[0][ground_at].mean() < 0.6 * plain[ground_at].mean()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 2), (8, 8)], ids=str)
def test_cells_that_are_all_alike_are_no_distance_apart(size_hw: tuple[int, int]) -> None:
    cells = (50 * noise(1, 300, 1, 1)).expand(-1, -1, *size_hw).contiguous()
    assert from_background(cells).abs().max() == 0


@pytest.mark.parametrize("name", ["objectness", "spectral_residual"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 30)], ids=str)
def test_a_flat_picture_is_zeros(name: str, colour: tuple[int, int, int], tiny: Backbone) -> None:
    images = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).repeat(1, 1, 64, 64)
    noisy = images.int()
    noisy[..., ::2, 1::3] += torch.where(noisy[..., ::2, 1::3] < 128, 5, -5)  # of a JPEG, say
    for each in (images, noisy.to(torch.uint8)):
        drawn = saliency.get(name).draw(looked_at(tiny, each), target(1)).values_bhw
        assert (drawn == 0).all()


# Spectral residual


def naive_residual(grey: Doubles) -> Doubles:
    """The same of one picture (h, w), value by value where that is not too slow."""
    height, width = grey.shape
    spectrum = np.fft.fft2(grey)
    log_amplitude = np.log(np.maximum(np.abs(spectrum), 1e-6))
    smooth = np.zeros_like(log_amplitude)
    for y, x in product(range(height), range(width)):
        around = [
            log_amplitude[(y + dy) % height, (x + dx) % width]
            for dy, dx in product((-1, 0, 1), (-1, 0, 1))
        ]
        smooth[y, x] = sum(around) / 9
    back = np.fft.ifft2(np.exp(log_amplitude - smooth + 1j * np.angle(spectrum)))
    energy = np.abs(back) ** 2
    kernel = np.exp(-(np.arange(-8, 9) ** 2) / (2 * 2.5**2))
    kernel /= kernel.sum()
    blurred = np.zeros_like(energy)
    for y, x in product(range(height), range(width)):
        rows = energy[np.clip(np.arange(y - 8, y + 9), 0, height - 1)]
        part = rows[:, np.clip(np.arange(x - 8, x + 9), 0, width - 1)]
        blurred[y, x] = kernel @ part @ kernel
    return blurred


@pytest.mark.parametrize("size_hw", [(16, 16), (9, 12)], ids=str)
def test_the_residual_is_that_of_a_naive_program(size_hw: tuple[int, int]) -> None:
    grey = 255 * noise(2, *size_hw).sigmoid().double()
    found = residual(grey)
    for row in range(2):
        np.testing.assert_allclose(found[row], naive_residual(grey[row].numpy()), rtol=1e-9)


def test_the_residual_stands_where_a_pattern_is_broken(tiny: Backbone) -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    grey = 127 + 100 * torch.sin(2 * math.pi * x / 8)
    odd = (slice(40, 52), slice(12, 24))
    grey[odd] = 127 + 100 * torch.sin(2 * math.pi * y[odd] / 5)
    images = grey.round().to(torch.uint8).expand(1, 3, 64, 64).contiguous()
    drawn = saliency.get("spectral_residual").draw(looked_at(tiny, images), target(1)).values_bhw
    assert drawn.shape == (1, 64, 64)
    top, left = np.unravel_index(drawn[0].argmax(), (64, 64))
    assert 38 <= top < 54
    assert 10 <= left < 26
    inside = drawn[0][odd].mean()
    assert inside > 3 * (drawn[0].sum() - drawn[0][odd].sum()) / (64 * 64 - 144)


def test_objectness_points_at_a_drawn_disc() -> None:
    backbone = seeded_backbone("mobilenet_v2", size_px=256)
    picture = drawn_picture((240, 320), (150, 60, 250, 160))
    looked = look(backbone, prepare(picture, 256)[None])
    drawn = saliency.get("objectness").draw(looked, target(1)).values_bhw[0]
    top, left = np.unravel_index(drawn.argmax(), drawn.shape)
    y, x = (top + 0.5) / drawn.shape[0] * 240, (left + 0.5) / drawn.shape[1] * 320
    assert 50 <= y < 170
    assert 140 <= x < 260


# The head slid over the cells


def dense_head(grid: int, seed: int = 0) -> DenseHead:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = DenseHead(grid, nn.Linear(3 * grid**2, 8), nn.Linear(8, 6), nn.Linear(6, 4))
    return head.eval().requires_grad_(False)


@pytest.mark.parametrize("size_hw", [(7, 9), (3, 3), (2, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("grid", [1, 2, 3, 4])
def test_a_slid_head_gives_its_own_logits_on_every_window(
    grid: int, size_hw: tuple[int, int]
) -> None:
    head, cells = dense_head(grid), noise(3, *size_hw)
    found = slid(head, cells).view(*size_hw, 4)
    height, width = size_hw
    for y, x in product(range(height), range(width)):
        window = torch.zeros((1, 3, grid, grid))
        for i, j in product(range(grid), range(grid)):
            row, column = y + i - grid // 2, x + j - grid // 2
            if 0 <= row < height and 0 <= column < width:
                window[0, :, i, j] = cells[:, row, column]
        torch.testing.assert_close(found[y, x], head(window)[0])


def test_windows_inside_are_the_layers_as_convolutions_by_hand() -> None:
    head, cells = dense_head(3), noise(3, 6, 5)
    first = nn.functional.conv2d(cells[None], head.first.weight.view(8, 3, 3, 3), head.first.bias)
    second = nn.functional.conv2d(
        first.relu(), head.second.weight[:, :, None, None], head.second.bias
    )
    third = nn.functional.conv2d(
        second.relu(), head.third.weight[:, :, None, None], head.third.bias
    )
    found = slid(head, cells).view(6, 5, 4)[1:-1, 1:-1]
    torch.testing.assert_close(found.permute(2, 0, 1), third[0], atol=1e-5, rtol=1e-5)


def test_a_window_as_large_as_the_picture_is_the_whole_score() -> None:
    head, cells = dense_head(3), noise(3, 3, 3)
    torch.testing.assert_close(slid(head, cells)[4], head(cells[None])[0])


def test_a_dense_head_draws_the_target_of_each_picture(tiny: Backbone) -> None:
    backbone = copy.copy(tiny)
    backbone.head = dense_head(3)
    looked = with_cells(backbone, noise(2, 3, 5, 6))
    both = Target(torch.tensor([[0, 2], [3, 1]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    found = fully_convolutional(looked, both)
    first = slid(backbone.head, looked.features.cells_bchw[0]).view(5, 6, 4)
    second = slid(backbone.head, looked.features.cells_bchw[1]).view(5, 6, 4)
    torch.testing.assert_close(found[0], (first[..., 0] + first[..., 2]) / 2)
    torch.testing.assert_close(found[1], second[..., 3])


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_heads_of_one_cell_draw_the_class_activation_map(name: str) -> None:
    looked = looked_at(seeded_backbone(name), random_images(2, 128))
    drawn = saliency.get("fully_convolutional").draw(looked, target(2)).values_bhw
    cam = saliency.get("cam").draw(looked, target(2)).values_bhw
    np.testing.assert_allclose(drawn, cam, atol=1e-4)


@pytest.mark.slow
def test_vgg16_draws_a_map_of_one_value_a_cell_at_any_side() -> None:
    backbone = seeded_backbone("vgg16")
    for side, cells in ((64, 2), (224, 7), (288, 9)):
        looked = looked_at(backbone, random_images(1, side))
        found = fully_convolutional(looked, target(1))
        assert found.shape == (1, cells, cells)
        if side == 224:  # the window in the middle is the whole picture
            torch.testing.assert_close(found[0, 3, 3], looked.logits[0, 0], rtol=1e-3, atol=1e-3)

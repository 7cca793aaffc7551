"""Attention of the network, by hand, by dense matrices and by the papers' invariants."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.errors import ConfigError, LabelConfigInvalid
from backend.vision import saliency
from backend.vision.backbones import Backbone, Features
from backend.vision.look import Looked, look
from backend.vision.saliency import Target
from backend.vision.saliency.attention import attention_map
from backend.vision.saliency.excitation import winning_probability
from backend.vision.saliency.excitation_rules import Excitation
from backend.vision.saliency.objectness import feature_norm
from backend.vision.saliency.soft_proposal import edges, proposal
from backend.vision.saliency.stretch import stretch
from tests.vision.conftest import SIDE_PX, network_state, random_images, seeded_backbone

FAMILY = ("attention", "contrastive_excitation", "excitation_backprop", "soft_proposal")
STAGED = FAMILY[:3]
CLASSES = (5, 700)


def looked_at(backbone: Backbone, images_u8: Tensor) -> Looked:
    return look(backbone, images_u8.permute(0, 2, 3, 1).contiguous().numpy())


def target(*classes: int) -> Target:
    index = torch.tensor(classes, dtype=torch.int64)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


def reading(backbone: Backbone, weight: Tensor, cells: Tensor) -> Looked:
    """Cells made up, under a mean and a linear layer of these weights (K, C)."""
    names = backbone.classes[: len(weight)]
    served = backbone.classifying(weight, torch.zeros(len(weight)), names)
    features = Features(cells, SIDE_PX)
    images = torch.zeros((len(cells), 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    return Looked(served, images, features, served.logits(features))


# Excitation backpropagation


def handed_down(
    run: Callable[..., Tensor], prior: Tensor, *starts: Tensor, turned: int | None = None
) -> tuple[Tensor, ...]:
    """What the starts win of a prior over the results of run."""
    leaves = [start.clone().requires_grad_(True) for start in starts]
    with Excitation(turned):
        found = run(*leaves)
    return torch.autograd.grad(found, leaves, prior)


def two_layers(top: list[float]) -> Callable[[Tensor], Tensor]:
    below = torch.tensor([[3.0, -1.0], [1.0, 1.0]])

    def run(x: Tensor) -> Tensor:
        hidden = F.relu(F.linear(x, below, torch.tensor([0.0, 1.0])))
        return F.linear(hidden, torch.tensor([top]), torch.tensor([9.0]))

    return run


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        # Of x = (1, 2) the hidden units are 1 and, with its bias, 4. The first is excited by
        # 3 x0 alone, the second by x0 and x1 as 1 to 2; no bias has a part in it.
        pytest.param([1.0, 1.0], [1 / 5 + 4 / 5 / 3, 4 / 5 * 2 / 3], id="both-excite"),
        pytest.param([2.0, -1.0], [1.0, 0.0], id="one-inhibits"),
        pytest.param([-1.0, 5.0], [1 / 3, 2 / 3], id="the-other-inhibits"),
        pytest.param([-1.0, -1.0], [0.0, 0.0], id="none-excites"),
    ],
)
def test_two_layers_by_hand(top: list[float], expected: list[float]) -> None:
    start = torch.tensor([[1.0, 2.0]])
    (won,) = handed_down(two_layers(top), torch.ones(1, 1), start)
    torch.testing.assert_close(won, torch.tensor([expected]))
    # The dual unit wins what a unit with the weights turned would.
    (dual,) = handed_down(two_layers([-w for w in top]), torch.ones(1, 1), start, turned=2)
    torch.testing.assert_close(dual, won)


@pytest.mark.parametrize(
    ("run", "starts", "prior", "expected"),
    [
        pytest.param(
            lambda a, b: a + b,
            [[3.0, 2.0, -1.0], [1.0, -1.0, 4.0]],
            [0.5, 0.2, 0.3],
            [[0.375, 0.2, 0.0], [0.125, 0.0, 0.3]],
            id="a-sum-by-positive-parts",
        ),
        pytest.param(F.relu6, [[2.0, 9.0]], [0.4, 0.6], [[0.4, 0.6]], id="relu6-above-6"),
        pytest.param(
            lambda a: a.mean(0, keepdim=True),
            [[1.0, 3.0, -2.0, 0.0]],
            [1.0],
            [[0.25, 0.75, 0.0, 0.0]],
            id="a-mean-by-what-is-above-zero",
        ),
        pytest.param(
            lambda a: F.max_pool2d(a, 2),
            [[[[1.0, 3.0], [2.0, 0.0]]]],
            [[[1.0]]],
            [[[[0.0, 1.0], [0.0, 0.0]]]],
            id="a-maximum-to-its-winner",
        ),
        pytest.param(
            lambda a, b: torch.cat([a, b]), [[1.0], [5.0]], [0.3, 0.7], [[0.3], [0.7]], id="cat"
        ),
        pytest.param(
            lambda a: F.conv2d(a, torch.tensor([[[[1.0, 3.0]]], [[[2.0, -1.0]]]]), groups=2),
            [[[[2.0, 2.0]], [[1.0, 1.0]]]],
            [[[0.4]], [[0.6]]],
            [[[[0.1, 0.3]], [[0.6, 0.0]]]],
            id="a-depthwise-layer",
        ),
        pytest.param(
            lambda a: F.linear(a, torch.tensor([[1.0, -1.0, 1.0]])),
            [[1.0, -5.0, -2.0]],
            [1.0],
            [[1.0, 0.0, 0.0]],
            id="what-is-below-zero-excites-nothing",
        ),
    ],
)
def test_rules_by_hand(
    run: Callable[..., Tensor],
    starts: list[Any],
    prior: list[Any],
    expected: list[Any],
) -> None:
    found = handed_down(run, torch.tensor(prior), *map(torch.tensor, starts))
    for won, should in zip(found, expected, strict=True):
        torch.testing.assert_close(won, torch.tensor(should))


def test_convolutions_give_what_dense_matrices_give() -> None:
    """The same network as matrices, and the paper's sum over units written out."""
    generator = torch.Generator().manual_seed(0)
    kernels = [
        torch.randn(4, 2, 3, 3, generator=generator),
        torch.randn(3, 4, 3, 3, generator=generator),
    ]
    start = torch.rand(1, 2, 5, 5, generator=generator)
    layers: list[Callable[[Tensor], Tensor]] = [
        lambda x: F.conv2d(x, kernels[0], stride=2, padding=1),
        lambda x: F.conv2d(x, kernels[1], padding=1),
    ]

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = F.relu(layer(x))
        return x

    shapes, values = [start.shape], [start]
    for layer in layers:
        values.append(F.relu(layer(values[-1])))
        shapes.append(values[-1].shape)
    prior = values[-1] / values[-1].sum()
    expected = prior.flatten().double()
    for layer, x, shape in zip(layers[::-1], values[1::-1], shapes[1::-1], strict=True):
        unit = torch.eye(shape.numel()).view(-1, *shape[1:])
        excites = layer(unit).flatten(1).T.clamp_min(0) * x.flatten()  # (out, in)
        below = torch.zeros(shape.numel(), dtype=torch.float64)
        for p, row in zip(expected, excites.double(), strict=True):
            if p > 0:
                below += p * row / row.sum()
        expected = below
    (won,) = handed_down(run, prior, start)
    torch.testing.assert_close(won.flatten().double(), expected, rtol=1e-4, atol=1e-6)
    assert float(won.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "whole"), [("resnet18", 3), ("squeezenet1_1", 2), ("mobilenet_v2", 2)]
)
def test_at_each_stage_the_map_is_a_distribution(name: str, whole: int) -> None:
    """In networks of ReLUs; a depthwise layer has units that a bias alone keeps alive."""
    backbone = seeded_backbone(name)
    looked = looked_at(backbone, random_images(2))
    stages = len(backbone.tapped(looked.images_u8)[1])
    assert stages >= whole
    above = 1 + 1e-4
    for stage in range(stages):
        won = winning_probability(looked, target(*CLASSES), stage)
        assert float(won.min()) >= 0
        total = won.sum((1, 2, 3))
        if stage < whole:
            torch.testing.assert_close(total, torch.ones(2), rtol=0, atol=1e-4)
        assert bool((total <= above).all())
        assert bool((total > 0.5).all())


def test_behind_a_mean_and_a_linear_layer_it_has_a_closed_form(tiny_pooled: Backbone) -> None:
    """Of a class the cells' share is that of cam, weights below zero left out."""
    looked = looked_at(tiny_pooled, random_images(2))
    head: Any = tiny_pooled.head
    weight = head.linear.weight[list(CLASSES)].clamp_min(0)
    cells = torch.einsum("bc,bchw->bhw", weight, looked.features.cells_bchw)
    expected = cells / cells.sum((1, 2), keepdim=True)
    won = winning_probability(looked, target(*CLASSES)).sum(1)
    torch.testing.assert_close(won, expected, rtol=1e-4, atol=1e-7)
    drawn = saliency.get("excitation_backprop").draw(looked, target(*CLASSES)).values_bhw
    np.testing.assert_allclose(drawn, stretch(expected).numpy(), atol=1e-5)


def test_the_prior_is_the_targets_weights(tiny: Backbone) -> None:
    looked = looked_at(tiny, random_images(1))
    both = Target(torch.tensor([[4, 9, 4, 7]]), torch.tensor([[1.0, 1.0, 2.0, 0.0]]))
    single = [winning_probability(looked, target(index), 1) for index in (4, 9)]
    expected = 0.75 * single[0] + 0.25 * single[1]
    torch.testing.assert_close(winning_probability(looked, both, 1), expected, rtol=1e-4, atol=1e-8)


def test_contrast_by_hand(tiny: Backbone) -> None:
    """Three cells of two channels; the class likes the first, its dual unit the second."""
    cells = torch.tensor([[[[2.0, 2.0, 0.0]], [[0.0, 1.0, 3.0]]]])
    looked = reading(tiny, torch.tensor([[1.0, -1.0]]), cells)
    won = winning_probability(looked, target(0), contrastive=True).sum(1)
    torch.testing.assert_close(won, torch.tensor([[[0.5, 0.25, -0.75]]]))
    drawn = saliency.get("contrastive_excitation").draw(looked, target(0)).values_bhw
    np.testing.assert_allclose(drawn, [[[1.0, 0.5, 0.0]]], atol=1e-6)


def test_a_class_and_a_dual_that_win_the_same_leave_nothing(tiny: Backbone) -> None:
    half = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[1.0, 2.0, 0.5, -1.0, -2.0, -0.5]])
    looked = reading(tiny, weight, torch.cat([half, half], 1))
    assert not saliency.get("contrastive_excitation").draw(looked, target(0)).values_bhw.any()
    assert saliency.get("excitation_backprop").draw(looked, target(0)).values_bhw.any()


def test_the_contrast_at_an_earlier_stage_is_what_a_naive_difference_gives(
    tiny_pooled: Backbone,
) -> None:
    """The dual of a class, served as a class of its own by weights that are turned."""
    looked = looked_at(tiny_pooled, random_images(1))
    head: Any = tiny_pooled.head
    weight = head.linear.weight[5:6]
    names = tiny_pooled.classes[:2]
    served = tiny_pooled.classifying(torch.cat([weight, -weight]), torch.zeros(2), names)
    again = Looked(served, looked.images_u8, looked.features, served.logits(looked.features))
    expected = winning_probability(again, target(0), 2) - winning_probability(again, target(1), 2)
    found = winning_probability(looked, target(5), 2, contrastive=True)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_batch_normalisation_is_folded_where_the_network_is_not_tuned() -> None:
    images = random_images(1)
    tuned, plain = (seeded_backbone("resnet18", tuned=tuned) for tuned in (True, False))
    torch.testing.assert_close(
        winning_probability(looked_at(plain, images), target(5), 2),
        winning_probability(looked_at(tuned, images), target(5), 2),
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.parametrize("call", [F.gelu, F.silu, torch.sigmoid, lambda x: x * x])
def test_calls_without_a_rule_are_refused(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError, match="no rule for"), Excitation():
        call(torch.ones(2, requires_grad=True))
    assert torch._C._len_torch_function_stack() == 0


def test_a_network_without_rules_is_told_what_to_choose() -> None:
    backbone = seeded_backbone("efficientnet_b0")
    looked = looked_at(backbone, random_images(1))
    draw = saliency.get("excitation_backprop").draw
    assert draw(looked, target(5)).values_bhw.max() == 1, "the last cells need the head alone"
    with pytest.raises(ConfigError, match=r"no rule for torch.nn.functional.silu.*Choose cam"):
        draw(looked, target(5), {"model_stage": "1"})


# Attention


def test_attention_by_hand() -> None:
    cells = torch.tensor([[[[1.0, -3.0]], [[2.0, 0.0]]]])
    torch.testing.assert_close(attention_map(cells, 1), torch.tensor([[[3.0, 3.0]]]))
    torch.testing.assert_close(attention_map(cells, 2), torch.tensor([[[5.0, 9.0]]]))
    torch.testing.assert_close(attention_map(cells, 4), torch.tensor([[[17.0, 81.0]]]))


def test_attention_is_the_square_of_the_norm_at_power_2(tiny: Backbone) -> None:
    looked = looked_at(tiny, random_images(2))
    drawn = saliency.get("attention").draw(looked, target(*CLASSES)).values_bhw
    squared = feature_norm(looked.features.cells_bchw).square()
    np.testing.assert_allclose(drawn, stretch(squared).numpy(), atol=1e-5)


def test_attention_at_each_stage_is_that_of_the_tap(tiny_pooled: Backbone) -> None:
    looked = looked_at(tiny_pooled, random_images(2))
    taps = tiny_pooled.tapped(looked.images_u8)[1]
    torch.testing.assert_close(taps[-1], looked.features.cells_bchw)
    sides = []
    for stage, tap in enumerate(taps[::-1]):
        options = {"model_stage": str(stage), "model_power": "3"}
        drawn = saliency.get("attention").draw(looked, target(*CLASSES), options).values_bhw
        expected = stretch(tap.abs().pow(3).sum(1))
        np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-4)
        sides.append(drawn.shape[1])
    assert sides == [2, 2, 4, 4, 8]


@pytest.mark.parametrize("method", STAGED)
def test_a_stage_that_the_backbone_does_not_have_is_refused(tiny: Backbone, method: str) -> None:
    looked = looked_at(tiny, random_images(1))
    with pytest.raises(LabelConfigInvalid, match="from 0, the last cells, to 1"):
        saliency.get(method).draw(looked, target(5), {"model_stage": "2"})
    with pytest.raises(LabelConfigInvalid, match="a whole number from 0 to 4"):
        saliency.get(method).draw(looked, target(5), {"model_stage": "-1"})


# Soft proposals


def walked(cells: Tensor, steps: int) -> Tensor:
    """(B, N) where a walk from everywhere alike is after some steps, one picture at a time."""
    found = []
    for weight in edges(cells).double():
        count = len(weight)
        chances = torch.zeros_like(weight)
        for column in range(count):
            total = weight[:, column].sum()
            chances[:, column] = weight[:, column] / total
        torch.testing.assert_close(chances.sum(0), torch.ones(count, dtype=torch.float64))
        share = torch.full((count,), 1 / count, dtype=torch.float64)
        for _ in range(steps):
            share = chances @ share
        found.append(share)
    return torch.stack(found)


def test_the_proposal_is_where_the_walk_ends() -> None:
    cells = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = proposal(cells)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2))
    torch.testing.assert_close(found.flatten(1).double(), walked(cells, 200), rtol=1e-4, atol=1e-7)
    start = torch.full((2, 20), 1 / 20, dtype=torch.float64)
    assert float((found.flatten(1) - start).abs().max()) > 0.005, "the walk went somewhere"


def test_edges_by_hand() -> None:
    """Two rows of two cells: the spread is 0.15 of a side of 2, so 0.3."""
    cells = torch.tensor([[[[0.0, 3.0], [0.0, 0.0]], [[0.0, 4.0], [1.0, 0.0]]]])
    found = edges(cells)[0]
    near, across = np.exp(-1 / (2 * 0.3**2)), np.exp(-2 / (2 * 0.3**2))
    assert found[0].tolist() == pytest.approx([0, 5 * near, near, 0])
    assert found[1, 2].item() == pytest.approx(np.sqrt(9 + 9) * across, rel=1e-4)
    torch.testing.assert_close(found, found.T)


@pytest.mark.parametrize("size_hw", [(3, 3), (1, 1), (1, 2)])
def test_cells_that_are_all_alike_have_equal_shares(size_hw: tuple[int, int]) -> None:
    found = proposal(torch.full((1, 4, *size_hw), 7.0))
    torch.testing.assert_close(found, torch.full((1, *size_hw), 1 / (size_hw[0] * size_hw[1])))


def test_one_cell_that_stands_out_has_half_and_its_mirror_images_share_alike() -> None:
    """Every edge leads to or from the one: half of all their ends are its own."""
    cells = torch.zeros(1, 2, 3, 3)
    cells[0, :, 1, 1] = 1
    found = proposal(cells)[0]
    assert float(found[1, 1]) == pytest.approx(0.5)
    for other in (found.T, found.flip(0), found.flip(1)):
        torch.testing.assert_close(found, other)
    assert found[0, 1] > found[0, 0], "the nearer, the more"


def test_the_proposal_is_coupled_to_the_map(tiny_pooled: Backbone) -> None:
    """Behind a mean and a linear layer coupled cells give the map times the proposal."""
    looked = looked_at(tiny_pooled, random_images(2, 128))
    maps = tiny_pooled.class_maps(looked.features, torch.tensor(CLASSES))
    expected = stretch(maps * proposal(looked.features.cells_bchw))
    drawn = saliency.get("soft_proposal").draw(looked, target(*CLASSES)).values_bhw
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-4)


# All of them


@pytest.mark.parametrize("method", FAMILY)
def test_an_earlier_stage_serves_batches_none_and_pictures_without_a_class(
    tiny: Backbone, method: str
) -> None:
    options = {"model_stage": "1"} if method in STAGED else {}
    looked = looked_at(tiny, random_images(2))
    for draw in (saliency.get(method).draw, saliency.get(method).without_class):
        together = draw(looked, target(*CLASSES), options).values_bhw
        assert together.shape == ((2, 7, 7) if options else (2, 3, 3))
        for row, index in enumerate(CLASSES):
            single = looked.select(torch.tensor([row]))
            np.testing.assert_allclose(
                draw(single, target(index), options).values_bhw[0], together[row], atol=1e-3
            )
        none = draw(looked.select(torch.arange(0)), target(), options).values_bhw
        assert none.shape == (0, *together.shape[1:])


@pytest.mark.parametrize("method", FAMILY)
def test_a_picture_of_one_colour_gives_no_nan(tiny: Backbone, method: str) -> None:
    images = random_images(2)
    images[1] = 124
    with torch.inference_mode():
        chosen = target(*CLASSES)  # as targets come from a look
    for stage in ("0", "1") if method in STAGED else ("0",):
        drawn = saliency.get(method).draw(looked_at(tiny, images), chosen, {"model_stage": stage})
        assert np.isfinite(drawn.values_bhw).all()


class _Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken head")


@pytest.mark.parametrize("method", ["contrastive_excitation", "excitation_backprop"])
def test_nothing_stays_behind_not_even_after_an_exception(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    backbone = seeded_backbone("squeezenet1_1")
    looked, options = looked_at(backbone, random_images(2)), {"model_stage": "1"}
    before = network_state(backbone)
    draw = saliency.get(method).draw
    drawn = draw(looked, target(*CLASSES), options).values_bhw
    with monkeypatch.context() as broken:
        broken.setattr(backbone, "head", _Broken())
        with pytest.raises(RuntimeError, match="broken head"):
            draw(looked, target(*CLASSES), options)
    assert network_state(backbone) == before
    assert torch._C._len_torch_function_stack() == 0
    np.testing.assert_array_equal(draw(looked, target(*CLASSES), options).values_bhw, drawn)


@pytest.mark.parametrize("method", ["contrastive_excitation", "excitation_backprop"])
@pytest.mark.slow
def test_no_tensor_stays_alive(tiny: Backbone, method: str) -> None:
    looked, draw = looked_at(tiny, random_images(1)), saliency.get(method).draw

    def tensors_alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    draw(looked, target(5), {"model_stage": "1"})
    alive = tensors_alive()
    for _ in range(10):
        draw(looked, target(5), {"model_stage": "1"})
    assert tensors_alive() == alive

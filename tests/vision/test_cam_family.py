"""Class activation maps of every kind, against the package grad-cam and naive loops."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.domain import FloatArray
from backend.vision import saliency
from backend.vision.architectures import PooledLinearHead
from backend.vision.backbones import Features
from backend.vision.look import Looked, look
from backend.vision.saliency import Target
from backend.vision.saliency.ablation_cam import ablationcam, score_drops
from backend.vision.saliency.cam import activation
from backend.vision.saliency.cell_gradient import cell_gradients
from backend.vision.saliency.eigen_cam import eigencam, first_projection
from backend.vision.saliency.gradient_cam import (
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    xgradcam,
)
from backend.vision.saliency.score_cam import channel_weights, scorecam
from backend.vision.saliency.stretch import stretch
from backend.vision.torchvision_door import load_torchvision
from tests.vision.conftest import random_images, seeded_backbone, seeded_model

SIDE_PX = 160
"""A grid of five cells a side: enough that maps which differ do not agree by chance."""

FEW = 4
"""Channels of scorecam where their number does not matter."""

Values = Callable[[Looked, Target], Tensor]

FAMILY: dict[str, Values] = {
    "ablationcam": ablationcam,
    "eigencam": eigencam,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "layercam": layercam,
    "scorecam": functools.partial(scorecam, channels=FEW),
    "xgradcam": xgradcam,
}

every_method = pytest.mark.parametrize("values", FAMILY.values(), ids=FAMILY)
every_backbone = pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
pooled_backbone = pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])

TARGET = Target(torch.tensor([[5, 2], [700, 3]]), torch.tensor([[0.7, 0.3], [1.0, 0.5]]))


@functools.lru_cache(maxsize=3)
def looked_at(name: str) -> Looked:
    backbone = seeded_backbone(name, size_px=SIDE_PX, tuned=False)
    return look(backbone, random_images(2, SIDE_PX).permute(0, 2, 3, 1).contiguous().numpy())


def one(looked: Looked, row: int) -> tuple[Looked, Target]:
    where = torch.tensor([row])
    return looked.select(where), Target(TARGET.class_index[where], TARGET.weight[where])


def with_cells(looked: Looked, cells_bchw: Tensor) -> Looked:
    features = Features(cells_bchw, looked.features.size_px)
    return Looked(looked.backbone, looked.images_u8, features, looked.logits)


def normalised(images_u8: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images_u8.float() / 255 - mean) / std


def cosine(ours: Tensor, theirs: FloatArray | Tensor) -> float:
    a, b = np.asarray(ours, np.float64).ravel(), np.asarray(theirs, np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


class Oracle:
    """A method of the package grad-cam at the last layer of a network of torchvision.

    cells, slope: what its own hooks recorded. scores: of the targets.
    """

    def __init__(self, kind: str, name: str, looked: Looked, target: Target) -> None:
        load_torchvision()  # the package imports it, and beside some torch only this door can
        package: Any = importlib.import_module("pytorch_grad_cam")
        model: Any = seeded_model(name)
        self.layer: nn.Module = model.layer4 if name == "resnet18" else model.features
        self.method = getattr(package, kind)(model, [self.layer])
        self.pixels = normalised(looked.images_u8)
        self.targets = [
            functools.partial(_score, index=index, weight=weight)
            for index, weight in zip(target.class_index, target.weight, strict=True)
        ]
        recorder = self.method.activations_and_grads
        logits = recorder(self.pixels)
        scores = [score(row) for score, row in zip(self.targets, logits, strict=True)]
        together: Any = torch.stack(scores)
        together.sum().backward()
        self.scores: FloatArray = together.detach().numpy()
        self.cells: FloatArray = recorder.activations[0].numpy()
        self.slope: FloatArray = recorder.gradients[0].numpy()

    def maps(self, unit: float = 1.0) -> FloatArray:
        """(B, h, w) before ReLU and resizing. unit: in which the cells are measured."""
        drawn: FloatArray = self.method.get_cam_image(*self._given(unit), False)
        return drawn

    def weights(self) -> FloatArray:
        """(B, C)."""
        found: FloatArray = self.method.get_cam_weights(*self._given(1.0))
        return found

    def _given(self, unit: float) -> tuple[Any, ...]:
        return self.pixels, self.layer, self.targets, self.cells / unit, self.slope * unit


def _score(logits: Tensor, *, index: Tensor, weight: Tensor) -> Tensor:
    return (logits[index] * weight).sum()


@pooled_backbone
def test_cells_and_gradients_are_those_that_hooks_record(name: str) -> None:
    looked = looked_at(name)
    oracle = Oracle("GradCAM", name, looked, TARGET)
    assert cosine(looked.features.cells_bchw, oracle.cells) > 0.99999
    np.testing.assert_allclose(cell_gradients(looked, TARGET), oracle.slope, atol=1e-6)


@every_backbone
@pytest.mark.parametrize(
    ("values", "kind", "rectified", "unit"),
    [
        pytest.param(gradcam, "GradCAM", True, 1.0, id="gradcam"),
        # The package adds 1e-6 to squared gradients. Cells in a large unit have large
        # gradients by the same measure and the same shares, but that number loses its say.
        pytest.param(gradcam_plus_plus, "GradCAMPlusPlus", True, 1e4, id="gradcam++"),
        pytest.param(xgradcam, "XGradCAM", True, 1.0, id="xgradcam"),
        pytest.param(hirescam, "HiResCAM", False, 1.0, id="hirescam"),
        pytest.param(layercam, "LayerCAM", True, 1.0, id="layercam"),
    ],
)
def test_maps_by_gradient_are_those_of_grad_cam(
    name: str, values: Values, kind: str, rectified: bool, unit: float
) -> None:
    looked = looked_at(name)
    theirs = Oracle(kind, name, looked, TARGET).maps(unit)
    ours = values(looked, TARGET)
    for row in range(len(looked)):
        expected = np.maximum(theirs[row], 0) if rectified else theirs[row]
        assert cosine(ours[row], expected) > 0.9999


@pooled_backbone
def test_behind_a_mean_and_a_linear_layer_they_are_the_class_activation_map(name: str) -> None:
    looked = looked_at(name)
    cam = activation(looked, TARGET)
    for values in (gradcam, xgradcam):
        torch.testing.assert_close(stretch(values(looked, TARGET)), stretch(F.relu(cam)))
    torch.testing.assert_close(stretch(hirescam(looked, TARGET)), stretch(cam))


def test_shares_of_gradcam_plus_plus_by_hand() -> None:
    """One channel of two cells 1 and 3, and a head of 2 times their mean: slope 1 on both."""
    looked = looked_at("mobilenet_v2")
    cells = torch.zeros(1, looked.features.cells_bchw.shape[1], 1, 2)
    cells[0, 7] = torch.tensor([[1.0, 3.0]])
    head = looked.backbone.head
    assert isinstance(head, PooledLinearHead)
    alone = Target(torch.tensor([[5]]), (2 / head.linear.weight[5, 7]).view(1, 1))
    drawn = gradcam_plus_plus(with_cells(looked, cells), alone)
    # A share is 1 / (2 + 4 * 1); its weight 2 / 6.
    torch.testing.assert_close(drawn[0, 0], torch.tensor([1.0, 3.0]) / 3)


@every_backbone
def test_eigencam_is_the_naive_projection(name: str) -> None:
    looked = looked_at(name)
    drawn = eigencam(looked, TARGET)
    for row, cells in enumerate(looked.features.cells_bchw.double().flatten(2).numpy()):
        first = np.linalg.svd(cells.T)[2][0]
        projection = cells.T @ first
        projection *= np.sign(projection.mean())
        assert cosine(drawn[row], projection) > 0.99999
        np.testing.assert_allclose(drawn[row].ravel(), projection, rtol=1e-3, atol=1e-3)


@every_backbone
def test_of_centred_cells_the_projection_is_that_of_grad_cam_but_for_its_sign(name: str) -> None:
    looked = looked_at(name)
    cells = looked.features.cells_bchw
    theirs = Oracle("EigenCAM", name, looked, TARGET).maps()
    ours = first_projection(cells - cells.mean((2, 3), keepdim=True))
    for row in range(len(looked)):
        assert abs(cosine(ours[row], theirs[row])) > 0.999


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", pytest.param("resnet18", marks=pytest.mark.slow), "squeezenet1_1"]
)
def test_ablated_scores_are_those_of_grad_cam(name: str) -> None:
    looked, target = one(looked_at(name), 0)
    oracle = Oracle("AblationCAM", name, looked, target)
    drops = oracle.weights() * oracle.scores[:, None]  # the package divides by the score
    found = score_drops(looked, target)
    np.testing.assert_allclose(found, drops, atol=1e-4 * np.abs(drops).max() + 1e-5)
    expected = np.maximum(np.einsum("bc,bchw->bhw", drops, oracle.cells), 0)
    assert cosine(ablationcam(looked, target), expected) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_scorecam_with_all_channels_is_that_of_grad_cam(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package stretches masks from the first cell's centre to the last one's, as if the
    # outer cells were half as wide; apart from this the definitions are the same.
    resize = functools.partial(nn.Upsample, mode="bilinear")
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", resize)
    looked, target = one(looked_at(name), 0)
    oracle = Oracle("ScoreCAM", name, looked, target)
    theirs = torch.from_numpy(oracle.weights())
    ours = channel_weights(looked, target, None)
    # Weights of a softmax over hundreds are all small and alike: compare what differs.
    assert cosine(ours - ours.mean(), theirs - theirs.mean()) > 0.999
    expected = np.einsum("bc,bchw->bhw", theirs.numpy(), oracle.cells)
    assert cosine(scorecam(looked, target, channels=None), expected) > 0.9999


def test_scorecam_tries_the_channels_of_largest_spread() -> None:
    looked = looked_at("resnet18")
    model = seeded_model("resnet18")
    weights = channel_weights(looked, TARGET, FEW)
    for row, cells in enumerate(looked.features.cells_bchw):
        chosen = sorted(range(len(cells)), key=lambda k: -float(cells[k].var()))[:FEW]
        scores = []
        for channel in chosen:
            mask = F.interpolate(cells[None, None, channel], (SIDE_PX, SIDE_PX), mode="bilinear")
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            with torch.no_grad():
                logits = model(normalised(looked.images_u8[row : row + 1]) * mask)[0]
            scores.append(float(logits[TARGET.class_index[row]] @ TARGET.weight[row]))
        expected = torch.softmax(torch.tensor(scores), 0)
        torch.testing.assert_close(weights[row, chosen], expected, atol=0.01, rtol=0)
        assert int((weights[row] > 0).sum()) == FEW


def test_scorecam_tries_64_channels_unless_told() -> None:
    looked, target = one(looked_at("squeezenet1_1"), 0)
    torch.testing.assert_close(scorecam(looked, target), scorecam(looked, target, channels=64))
    assert int((channel_weights(looked, target, 64) > 0).sum()) == 64


@every_method
@pytest.mark.slow
def test_a_picture_has_its_own_classes_in_any_batch_and_order(values: Values) -> None:
    looked = looked_at("squeezenet1_1")
    together = values(looked, TARGET)
    assert not torch.allclose(together[0], together[1])
    turned = Target(TARGET.class_index.flip(0), TARGET.weight.flip(0))
    torch.testing.assert_close(
        values(looked.select(torch.tensor([1, 0])), turned).flip(0), together, atol=1e-4, rtol=1e-3
    )
    for row in range(len(looked)):
        torch.testing.assert_close(
            values(*one(looked, row))[0], together[row], atol=1e-4, rtol=1e-3
        )


@every_method
def test_an_entry_of_weight_0_is_switched_off(values: Values) -> None:
    looked = looked_at("mobilenet_v2")
    padded = Target(F.pad(TARGET.class_index, (0, 1), value=9), F.pad(TARGET.weight, (0, 1)))
    torch.testing.assert_close(values(looked, padded), values(looked, TARGET))


@every_method
def test_no_picture_gives_no_map(values: Values) -> None:
    looked = looked_at("squeezenet1_1").select(torch.arange(0))
    nothing = Target(torch.zeros((0, 1), dtype=torch.int64), torch.zeros((0, 1)))
    assert values(looked, nothing).shape == (0, *looked.features.cells_bchw.shape[2:])


@every_backbone
@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.slow
def test_a_picture_of_one_colour_and_dead_cells_give_numbers(name: str, method: str) -> None:
    backbone = looked_at(name).backbone
    grey = look(backbone, np.full((1, SIDE_PX, SIDE_PX, 3), 128, np.uint8))
    target = Target(torch.tensor([[5]]), torch.ones(1, 1))
    for looked in (grey, with_cells(grey, torch.zeros_like(grey.features.cells_bchw))):
        drawn = saliency.get(method)
        for draw in (drawn.draw, drawn.without_class):
            assert np.isfinite(draw(looked, target).values_bhw).all()


@every_method
@pytest.mark.slow
def test_no_graph_no_hook_and_no_gradient_stays(values: Values) -> None:
    looked = looked_at("mobilenet_v2").select(torch.tensor([0, 1] * 8))
    target = Target(TARGET.class_index.repeat(8, 1), TARGET.weight.repeat(8, 1))
    modules = [*looked.backbone.head.modules()]
    modes = [module.training for module in modules]
    # Score-CAM runs the trunk; one picture shows as much of it.
    given = one(looked, 0) if values is FAMILY["scorecam"] else (looked, target)
    before = 0
    for repetition in range(110):
        drawn = values(*given)
        if repetition == 9:
            before = psutil.Process().memory_info().rss
    # The cells of one repetition are 2 MB, its graph holds as much.
    assert psutil.Process().memory_info().rss - before < 20e6
    assert not drawn.requires_grad
    assert [module.training for module in modules] == modes
    assert all(parameter.grad is None for parameter in looked.backbone.head.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in modules)


@pooled_backbone
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("cam", "CAM"),
        ("gradcam", "GradCAM"),
        ("xgradcam", "XGradCAM"),
        ("layercam", "LayerCAM"),
    ],
)
def test_torchcam_draws_the_same(ours: str, theirs: str, name: str) -> None:
    """Of one class. torchcam's GradCAMpp weighs a little differently (cosine .996 on one of the
    two networks); ours is held against grad-cam's above."""
    torchcam: Any = importlib.import_module("torchcam.methods")
    looked = looked_at(name).select(torch.tensor([0]))
    index = 7
    one = Target(torch.tensor([[index]]), torch.ones((1, 1)))
    model: Any = seeded_model(name)
    layer, last = ("layer4", "fc") if name == "resnet18" else ("features", "classifier.1")
    options = {"fc_layer": last} if theirs == "CAM" else {}
    with getattr(torchcam, theirs)(model, layer, **options) as extractor:
        scores = model(normalised(looked.images_u8))
        (expected,) = extractor(index, scores, normalized=False)
    maps = {
        "cam": lambda: activation(looked, one),
        "gradcam": lambda: gradcam(looked, one),
        "xgradcam": lambda: xgradcam(looked, one),
        "layercam": lambda: layercam(looked, one),
    }
    assert float(expected.max()) > 0
    assert cosine(maps[ours](), expected.detach().numpy()) > 0.999

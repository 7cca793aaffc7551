"""Every backbone scores as torchvision's network does and takes its scores apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backend.domain import BackboneIdentity
from backend.errors import ConfigError, ShapeError, UnknownName
from backend.vision import backbones
from backend.vision.architectures import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD
from backend.vision.backbones import Backbone, Features, backbone_from_tensors, load_backbone
from backend.vision.classes import ClassName, imagenet_classes
from backend.vision.runtime import TorchRuntime
from tests.vision.conftest import by_name, random_images, seeded_backbone, seeded_model


@pytest.mark.parametrize("name", by_name(backbones.names()))
def test_scores_equal_torchvisions_and_maps_add_up_to_them(name: str) -> None:
    model = seeded_model(name)
    backbone = backbone_from_tensors(name, model.state_dict(), size_px=96)
    images = random_images(2, 96)
    features = backbone.features(images)
    logits = backbone.logits(features)

    architecture = ARCHITECTURES.get(name)
    mean = torch.tensor(architecture.mean_rgb).view(3, 1, 1)
    std = torch.tensor(architecture.std_rgb).view(3, 1, 1)
    with torch.no_grad():
        expected = model((images.float() / 255 - mean) / std)
    scale = float(expected.abs().max())
    assert scale > 0.1  # the check below would pass on scores that are all zero
    torch.testing.assert_close(logits, expected, atol=1e-4 * scale, rtol=0)

    classes = torch.tensor([[3, 999], [0, 41]])
    maps = backbone.class_maps(features, classes)
    bias = backbone.class_bias(features, classes)
    assert maps.shape == (2, 2, *features.cells_bchw.shape[2:])
    torch.testing.assert_close(
        maps.mean((2, 3)) + bias, logits.gather(1, classes), atol=1e-4 * scale, rtol=0
    )
    single = backbone.class_maps(features, classes[:, 1])
    torch.testing.assert_close(single, maps[:, 1])
    torch.testing.assert_close(backbone.class_bias(features, classes[:, 1]), bias[:, 1])


def test_googlenets_own_normalisation_is_torchvisions_transform_of_the_usual_one() -> None:
    # torchvision: x * (std / 0.5) + (mean - 0.5) / 0.5 on usually normalised pixels.
    architecture = ARCHITECTURES.get("googlenet")
    for pixel in (0.0, 0.3, 1.0):
        for channel in range(3):
            usual = (pixel - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            theirs = usual * (IMAGENET_STD[channel] / 0.5) + (IMAGENET_MEAN[channel] - 0.5) / 0.5
            ours = (pixel - architecture.mean_rgb[channel]) / architecture.std_rgb[channel]
            assert ours == pytest.approx(theirs)


def test_a_class_map_by_hand_on_a_one_convolution_net() -> None:
    # Red and green pass unchanged as two channels of cells; class 7 weighs them 2 and -1.
    trunk = nn.Conv2d(3, 2, 1, bias=False)
    head = nn.Linear(2, 1000)
    with torch.no_grad():
        trunk.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1))
        head.weight.zero_()
        head.weight[7] = torch.tensor([2.0, -1.0])
        head.bias.fill_(0.25)
    from backend.vision.architectures import PooledLinearHead

    device = torch.device("cpu")
    runtime = TorchRuntime(trunk, (0, 0, 0), (1, 1, 1), device)
    backbone = Backbone(
        BackboneIdentity("hand", "0", 2),
        tuple(ClassName(str(i), str(i)) for i in range(1000)),
        runtime,
        PooledLinearHead(head.requires_grad_(False)),
        device,
    )
    images = torch.zeros((1, 3, 2, 2), dtype=torch.uint8)
    images[0, 0] = torch.tensor([[255, 0], [51, 0]])  # red 1, 0, .2, 0
    images[0, 1] = torch.tensor([[0, 255], [0, 0]])  # green 0, 1, 0, 0
    features = backbone.features(images)
    maps = backbone.class_maps(features, torch.tensor([7]))
    torch.testing.assert_close(maps, torch.tensor([[[2.0, -1.0], [0.4, 0.0]]]))
    # mean of 2, -1, .4, 0 is .35, and .25 of bias
    assert float(backbone.logits(features)[0, 7]) == pytest.approx(0.6)
    assert backbone.stride == 1


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2"])
def test_a_batch_gives_what_single_pictures_give(name: str) -> None:
    backbone = seeded_backbone(name)
    images = random_images(3)
    together = backbone.features(images).cells_bchw
    apart = torch.cat([backbone.features(images[i : i + 1]).cells_bchw for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_an_empty_batch_has_features_of_the_right_shape(tiny: Backbone) -> None:
    features = tiny.features(random_images(0))
    assert features.cells_bchw.shape == (0, *tiny.features(random_images(1)).cells_bchw.shape[1:])
    assert tiny.logits(features).shape == (0, 1000)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(torch.zeros((1, 3, 8, 8)), id="float"),
        pytest.param(torch.zeros((3, 8, 8), dtype=torch.uint8), id="no-batch"),
        pytest.param(torch.zeros((1, 8, 8, 3), dtype=torch.uint8), id="channels-last-axis"),
    ],
)
def test_other_shapes_are_refused(tiny: Backbone, images: torch.Tensor) -> None:
    with pytest.raises(ShapeError):
        tiny.features(images)


def test_class_index_must_have_one_row_a_picture(tiny: Backbone) -> None:
    features = tiny.features(random_images(2))
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        tiny.class_maps(features, torch.tensor([1]))
    with pytest.raises(ShapeError):
        Features(torch.zeros(2, 3), 64)


def test_nothing_is_left_on_the_network(tiny_pooled: Backbone) -> None:
    runtime = tiny_pooled.runtime
    assert isinstance(runtime, TorchRuntime)
    modules = [*runtime.trunk.modules(), *tiny_pooled.head.modules()]

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in modules)

    assert hooks() == 0
    for _ in range(3):
        features = tiny_pooled.features(random_images(1))
        tiny_pooled.class_maps(features, torch.tensor([1]))
        pixels = tiny_pooled.normalised(random_images(1)).requires_grad_(True)
        torch.autograd.grad(tiny_pooled.logits_at(pixels)[0, 0], pixels)
    assert hooks() == 0
    assert not any(module.training for module in modules)
    assert not any(p.requires_grad or p.grad is not None for m in modules for p in m.parameters())


def test_the_identity_names_what_was_loaded() -> None:
    first, second = seeded_backbone("squeezenet1_1"), seeded_backbone("squeezenet1_1")
    other = backbone_from_tensors("squeezenet1_1", seeded_model("squeezenet1_1", 5).state_dict())
    assert first.identity == second.identity
    assert first.identity.digest != other.identity.digest
    assert first.identity.name == "squeezenet1_1"
    assert first.size_px == first.identity.size_px == 64
    assert first.stride == 16
    assert first.identity.classes[1] == "goldfish"
    assert first.classes == imagenet_classes()


def test_an_unknown_backbone_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="resnet50"):
        load_backbone("resnet5", None, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="DEVICE=cuda:7"):
        backbones.find_device("cuda:7")
    assert backbones.find_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_reference_outputs_of_published_weights(name: str, shared_data: Path) -> None:
    folder = shared_data / "weights"
    backbone = load_backbone(name, folder / f"{name}_imagenet_f16.safetensors", "cpu", "torch")
    reference = np.load(folder / f"{name}_reference.npz")
    runtime = backbone.runtime
    assert isinstance(runtime, TorchRuntime)
    with torch.inference_mode():  # the reference input is normalised already
        cells = runtime.trunk(torch.from_numpy(reference["input"]))
    logits = backbone.logits(Features(cells, 224)).numpy()
    np.testing.assert_allclose(logits, reference["logits"].reshape(1, -1), atol=1e-3, rtol=0)
    np.testing.assert_allclose(
        cells.mean((2, 3)).numpy(), reference["pooled_features"].reshape(1, -1), atol=1e-3, rtol=0
    )


def test_another_head_on_the_same_trunk(tiny_pooled: Backbone) -> None:
    images = random_images(2)
    features = tiny_pooled.features(images)
    weight, bias = torch.randn(2, features.cells_bchw.shape[1]), torch.randn(2)
    other = tiny_pooled.classifying(weight, bias, (ClassName("", "left"), ClassName("", "right")))
    pooled = features.cells_bchw.mean((2, 3))
    torch.testing.assert_close(other.logits(other.features(images)), pooled @ weight.T + bias)
    assert other.matcher.match(["right"]) == (1,)
    assert tiny_pooled.logits(features).shape == (2, 1000)

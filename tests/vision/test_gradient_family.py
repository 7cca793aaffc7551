"""Attributions by gradients, against captum, naive loops and arithmetic by hand."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.errors import ConfigError, LabelConfigInvalid, ShapeError
from backend.vision import saliency
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.look import Looked, look, prepare
from backend.vision.saliency import Target, attribution, rectifiers
from backend.vision.saliency.gradient import GradientOptions
from backend.vision.saliency.guided_gradcam import located_slopes
from backend.vision.saliency.guided_mask import gradient_within, inside_boxes
from backend.vision.saliency.stretch import stretch
from tests.vision.conftest import (
    SIDE_PX,
    drawn_picture,
    network_state,
    random_images,
    seeded_backbone,
    seeded_model,
)

FAMILY = (
    "gradient",
    "guided_backprop",
    "deconvnet",
    "smoothgrad",
    "input_x_gradient",
    "integrated_gradients",
    "guided_gradcam",
    "guided_mask",
)
CLASSES = (5, 700)
BOXES = ((50, 30, 110, 90), (10, 20, 60, 80))

Rule = Callable[[], AbstractContextManager[None]]


def looked_at(backbone: Backbone, images_u8: Tensor) -> Looked:
    return look(backbone, images_u8.permute(0, 2, 3, 1).contiguous().numpy())


def target(*classes: int) -> Target:
    index = torch.tensor(classes, dtype=torch.int64)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


def plain(name: str) -> nn.Module:
    """torchvision's network of the seeded parameters, nothing of it in place."""
    model = seeded_model(name).requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, (nn.ReLU, nn.ReLU6)):
            layer.inplace = False
    return model


def class_scores(
    model: Callable[[Tensor], Tensor], classes: Sequence[int] = CLASSES
) -> attribution.Scores:
    return lambda pixels: model(pixels).gather(1, torch.tensor(classes)[:, None])[:, 0]


def under(rule: Rule, scores: attribution.Scores) -> attribution.Scores:
    def ruled(pixels: Tensor) -> Tensor:
        with rule():
            return scores(pixels)

    return ruled


def cosines(ours: Tensor, theirs: Tensor) -> Tensor:
    return torch.cosine_similarity(ours.flatten(1), theirs.flatten(1))


@pytest.fixture(scope="module", params=["mobilenet_v2", "resnet18"])
def pair(request: pytest.FixtureRequest) -> tuple[str, Backbone, nn.Module]:
    """The backbone as it is served, folded and in place, and the plain network."""
    return request.param, seeded_backbone(request.param), plain(request.param)


@pytest.fixture(scope="module")
def pixels(pair: tuple[str, Backbone, nn.Module]) -> Tensor:
    return pair[1].normalised(random_images(2))


def _captum_saliency(captum: Any, model: nn.Module, pixels: Tensor) -> Tensor:
    found: Tensor = captum.Saliency(model).attribute(pixels, target=list(CLASSES), abs=False)
    return found


def _captum_input_x_gradient(captum: Any, model: nn.Module, pixels: Tensor) -> Tensor:
    found: Tensor = captum.InputXGradient(model).attribute(pixels, target=list(CLASSES))
    return found


def _captum_integrated(captum: Any, model: nn.Module, pixels: Tensor) -> Tensor:
    found: Tensor = captum.IntegratedGradients(model).attribute(
        pixels, baselines=0, target=list(CLASSES), n_steps=16, method="gausslegendre"
    )
    return found


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(attribution.slope, _captum_saliency, id="gradient"),
        pytest.param(attribution.input_x_gradient, _captum_input_x_gradient, id="input_x_gradient"),
        pytest.param(attribution.integrated_gradients, _captum_integrated, id="integrated"),
    ],
)
@pytest.mark.slow
def test_the_served_network_gives_what_captum_gives(
    pair: tuple[str, Backbone, nn.Module],
    pixels: Tensor,
    ours: Callable[[attribution.Scores, Tensor], Tensor],
    theirs: Callable[[Any, nn.Module, Tensor], Tensor],
) -> None:
    _, backbone, model = pair
    found = ours(class_scores(backbone.logits_at), pixels)
    expected = theirs(pytest.importorskip("captum.attr"), model, pixels.contiguous()).detach()
    assert float(cosines(found, expected).min()) > 0.999
    assert math.isclose(float(found.norm()), float(expected.norm()), rel_tol=1e-2)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize(
    ("rule", "theirs"),
    [(rectifiers.guided, "GuidedBackprop"), (rectifiers.deconvnet, "Deconvolution")],
)
@pytest.mark.slow
def test_the_rules_give_what_captum_gives(rule: Rule, theirs: str) -> None:
    backbone, pixels = seeded_backbone("resnet18"), random_images(2)
    captum = pytest.importorskip("captum.attr")
    read = backbone.normalised(pixels)
    found = attribution.slope(under(rule, class_scores(backbone.logits_at)), read)
    method = getattr(captum, theirs)(plain("resnet18"))
    expected = method.attribute(read.contiguous(), target=list(CLASSES))
    assert float(cosines(found, expected).min()) > 0.999
    ordinary = attribution.slope(class_scores(backbone.logits_at), read)
    assert float(cosines(ordinary, expected).max()) < 0.9


def _back_by_hooks(
    model: nn.Module, pixels: Tensor, classes: Sequence[int] = CLASSES, *, gated: bool
) -> Tensor:
    """The rules written with a hook on each module, for networks that use each once."""

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (source,) = inputs
        ruled = output if gated else source + (output - source).detach()
        ruled.register_hook(lambda slope: slope.clamp(min=0))  # type: ignore[no-untyped-call]
        return ruled

    for layer in model.modules():
        if isinstance(layer, (nn.ReLU, nn.ReLU6)):
            layer.register_forward_hook(watch)
    leaf = pixels.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(class_scores(model, classes)(leaf).sum(), leaf)
    return found


@pytest.mark.parametrize(
    ("rule", "gated"), [(rectifiers.guided, True), (rectifiers.deconvnet, False)]
)
def test_the_rules_give_what_naive_hooks_give_for_relu6(rule: Rule, gated: bool) -> None:
    backbone, images = seeded_backbone("mobilenet_v2"), random_images(2)
    read = backbone.normalised(images)
    found = attribution.slope(under(rule, class_scores(backbone.logits_at)), read)
    expected = _back_by_hooks(plain("mobilenet_v2"), read, gated=gated)
    assert float(cosines(found, expected).min()) > 0.999


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("rectify", "gates"),
    [
        pytest.param(lambda x, i: nn.ReLU(i)(x), [0, 0, 1, 1], id="module"),
        pytest.param(lambda x, i: nn.ReLU6(i)(x), [0, 0, 1, 0], id="module-6"),
        pytest.param(lambda x, i: F.relu(x, inplace=i), [0, 0, 1, 1], id="function"),
        pytest.param(lambda x, i: F.relu6(x, inplace=i), [0, 0, 1, 0], id="function-6"),
        pytest.param(lambda x, i: F.hardtanh(x, 0, 6, i), [0, 0, 1, 0], id="hardtanh"),
        pytest.param(lambda x, i: x.relu_() if i else x.relu(), [0, 0, 1, 1], id="method"),
        pytest.param(lambda x, i: torch.relu_(x) if i else torch.relu(x), [0, 0, 1, 1], id="torch"),
    ],
)
def test_rules_by_hand(
    rectify: Callable[[Tensor, bool], Tensor], gates: list[int], inplace: bool
) -> None:
    """Values below, at and between the bounds and above 6, with slopes of both signs."""
    values = torch.tensor([-1.0, 0.0, 2.0, 7.0]).repeat(2)
    weights = torch.tensor([2.0] * 4 + [-3.0] * 4)

    def scores(of: Tensor) -> Tensor:
        return (rectify(of.clone(), inplace) * weights).sum()[None]

    expected = torch.tensor([2.0 * gate for gate in gates] + [0.0] * 4)
    torch.testing.assert_close(
        attribution.slope(under(rectifiers.guided, scores), values), expected
    )
    torch.testing.assert_close(
        attribution.slope(under(rectifiers.deconvnet, scores), values),
        torch.tensor([2.0] * 4 + [0.0] * 4),
    )
    torch.testing.assert_close(under(rectifiers.guided, scores)(values), scores(values))


def test_a_module_used_twice_is_ruled_twice() -> None:
    relu = nn.ReLU(inplace=True)
    start = torch.tensor([1.0, 1.0])

    def scores(of: Tensor) -> Tensor:
        # Slopes on the way back: at the outer rectifier 1, at the inner one -1 and 1.
        outer: Tensor = relu(relu(of.clone()) * torch.tensor([-1.0, 1.0]) + 2)
        return outer.sum()[None]

    ruled = attribution.slope(under(rectifiers.guided, scores), start)
    assert ruled.tolist() == [0, 1]
    assert attribution.slope(scores, start).tolist() == [-1, 1]


def test_hardtanh_with_another_floor_is_no_rectifier() -> None:
    with pytest.raises(ConfigError, match="no rectifier"), rectifiers.guided():
        F.hardtanh(torch.ones(1))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_network_without_rectifiers_is_told_what_to_choose(method: str) -> None:
    looked = looked_at(seeded_backbone("efficientnet_b0"), random_images(1))
    with pytest.raises(ConfigError, match=r"no rectifier.*Choose gradient"):
        saliency.get(method).draw(looked, target(5))
    assert torch._C._len_torch_function_stack() == 0


def test_smoothgrad_gives_what_captum_gives_for_the_same_noise(
    pair: tuple[str, Backbone, nn.Module], pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """captum's loop over our draws: its own noise cannot be seeded picture by picture."""
    _, backbone, model = pair
    captum = pytest.importorskip("captum.attr")
    found = attribution.smoothgrad(class_scores(backbone.logits_at), pixels, draws=4, seed=3)
    grain = torch.randn((4, *pixels.shape[1:]), generator=torch.Generator().manual_seed(3))
    span = pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3))
    expected = []
    for picture, width, index in zip(pixels, span, CLASSES, strict=True):
        monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * grain)
        tunnel = captum.NoiseTunnel(captum.Saliency(model))
        expected.append(
            tunnel.attribute(
                picture[None].contiguous(),
                nt_type="smoothgrad",
                nt_samples=4,
                stdevs=0.15 * float(width),
                target=index,
                abs=False,
            )
        )
    assert float(cosines(found, torch.cat(expected)).min()) > 0.999


def test_smoothgrad_depends_on_the_seed_and_on_nothing_else() -> None:
    scores, pixels = class_scores(seeded_backbone("squeezenet1_1").logits_at), random_images(2)
    read = seeded_backbone("squeezenet1_1").normalised(pixels)
    first = attribution.smoothgrad(scores, read, draws=2)
    torch.rand(5)
    assert torch.equal(first, attribution.smoothgrad(scores, read, draws=2))
    assert not torch.equal(first, attribution.smoothgrad(scores, read, draws=2, seed=1))


def test_integrated_gradients_by_hand() -> None:
    """Of x cubed from 1 to 3: the slope's mean is (27 - 1) / 2, the share 26."""
    found = attribution.integrated_gradients(
        lambda x: x.pow(3).sum((1, 2, 3)), torch.full((1, 1, 1, 1), 3.0), baseline=1.0, steps=2
    )
    assert math.isclose(float(found), 26.0, rel_tol=1e-5)


@pytest.mark.slow
def test_integrated_gradients_add_up_to_the_difference_of_the_scores() -> None:
    """Without biases one step is exact; a trained network is nearly straight in 16 steps."""
    straight, served = seeded_backbone("squeezenet1_1"), load_backbone("embedded", None, "cpu")
    squares = np.stack([prepare(drawn_picture(box=box), 128) for box in BOXES])
    images = torch.from_numpy(squares).permute(0, 3, 1, 2)
    for backbone, steps, tolerance in ((straight, 1, 1e-4), (served, 16, 0.1), (served, 64, 0.02)):
        scores, pixels = class_scores(backbone.logits_at), backbone.normalised(images)
        with torch.no_grad():
            difference = scores(pixels) - scores(torch.zeros_like(pixels))
        shares = attribution.integrated_gradients(scores, pixels, steps=steps).sum((1, 2, 3))
        assert float(difference.abs().min()) > 0.01
        torch.testing.assert_close(shares, difference, rtol=tolerance, atol=0)


def test_the_mask_confines_by_hand() -> None:
    values = torch.tensor([[[[1.0, -2.0]], [[3.0, 4.0]]]])
    seen = torch.tensor([[[True, False]]])
    expected = torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]]]])
    torch.testing.assert_close(attribution.guided_mask(values, seen), expected)


def test_percents_become_pixels_whose_centre_is_inside() -> None:
    """Of 4 pixels a side the centres lie at 12.5, 37.5, 62.5 and 87.5 percent."""
    found = inside_boxes(((12.5, 0, 37.5, 50), (80, 80, 100, 100)), 4)
    assert found.int().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("channels", ["strongest", "sum"])
def test_the_guided_mask_is_the_gradient_inside_and_nothing_outside(
    tiny: Backbone, channels: str
) -> None:
    looked, chosen = looked_at(tiny, random_images(2)), target(*CLASSES)
    options = {"model_channels": channels}
    whole = saliency.get("gradient").draw(looked, chosen, options).values_bhw
    method = saliency.get("guided_mask")
    np.testing.assert_array_equal(method.draw(looked, chosen, options).values_bhw, whole)
    # Columns 0 to 31 of 64, and a box in the lower right corner.
    boxes = {**options, "model_observable": "0,0,50,100; 75,75,100,100"}
    drawn = method.draw(looked, chosen, boxes).values_bhw
    inside = np.zeros((SIDE_PX, SIDE_PX), bool)
    inside[:, :32] = inside[48:, 48:] = True
    assert (drawn[:, ~inside] == 0).all()
    for found, values in zip(drawn, whole, strict=True):
        # Both were stretched, so that inside one is a line in the other.
        slope, level = np.polyfit(values[inside], found[inside], 1)
        assert slope >= 1
        np.testing.assert_allclose(found[inside], slope * values[inside] + level, atol=1e-4)


def test_a_program_gives_each_picture_a_mask_of_its_own(tiny: Backbone) -> None:
    looked, chosen = looked_at(tiny, random_images(2)), target(*CLASSES)
    masks = torch.zeros((2, 4, 8), dtype=torch.bool)
    masks[0, :2] = True  # the upper half
    masks[1, :, 6:] = True  # the right quarter
    drawn = gradient_within(looked, chosen, masks).values_bhw
    assert drawn[0, :32].max() == 1
    assert (drawn[0, 32:] == 0).all()
    assert drawn[1, :, 48:].max() == 1
    assert (drawn[1, :, :48] == 0).all()
    nothing = gradient_within(looked, chosen, torch.zeros_like(masks)).values_bhw
    assert not nothing.any()


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(torch.ones((1, 8, 8), dtype=torch.bool), id="another-number"),
        pytest.param(torch.ones((2, 8, 8)), id="no-bool"),
        pytest.param(torch.ones((2, 1, 8, 8), dtype=torch.bool), id="a-dimension-more"),
    ],
)
def test_masks_of_another_shape_are_refused(tiny: Backbone, mask: Tensor) -> None:
    with pytest.raises(ShapeError):
        gradient_within(looked_at(tiny, random_images(2)), target(*CLASSES), mask)


@pytest.mark.parametrize(
    "given",
    [
        {"model_observable": "0,0,50"},
        {"model_observable": "50,0,50,100"},
        {"model_observable": "0,0,101,100"},
        {"model_observable": "0,0,nan,100"},
        {"model_observable": "a,b,c,d"},
        {"model_observable": ""},
        {"model_observable": "0,0,50,100", "model_flip": "true"},
    ],
)
def test_observable_boxes_that_cannot_be_used_are_refused(
    tiny: Backbone, given: dict[str, str]
) -> None:
    with pytest.raises(LabelConfigInvalid, match="model_observable"):
        saliency.get("guided_mask").draw(looked_at(tiny, random_images(1)), target(5), given)


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "deconvnet", "smoothgrad"])
@pytest.mark.parametrize(
    ("options", "of_channels"),
    [
        ({}, lambda a: a.abs().amax(1)),
        ({"model_signed": "true"}, lambda a: a.amax(1)),
        ({"model_channels": "sum"}, lambda a: a.abs().sum(1)),
        ({"model_channels": "sum", "model_signed": "true"}, lambda a: a.sum(1)),
    ],
)
def test_how_channels_become_one_map(
    tiny: Backbone,
    method: str,
    options: dict[str, str],
    of_channels: Callable[[Tensor], Tensor],
) -> None:
    images = random_images(2)
    scores = class_scores(tiny.logits_at)
    if method in ("guided_backprop", "deconvnet"):
        rule = rectifiers.guided if method == "guided_backprop" else rectifiers.deconvnet
        scores = under(rule, scores)
    attribute = attribution.smoothgrad if method == "smoothgrad" else attribution.slope
    expected = stretch(of_channels(attribute(scores, tiny.normalised(images))))
    drawn = saliency.get(method).draw(looked_at(tiny, images), target(*CLASSES), options)
    np.testing.assert_allclose(drawn.values_bhw, expected.numpy(), atol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_class(tiny: Backbone) -> None:
    images = random_images(2)
    pixels = tiny.normalised(images).requires_grad_(True)
    loss = F.cross_entropy(tiny.logits_at(pixels), torch.tensor(CLASSES), reduction="sum")
    (slopes,) = torch.autograd.grad(loss, pixels)
    options = {"model_of": "loss", "model_channels": "sum", "model_signed": "true"}
    drawn = saliency.get("gradient").draw(looked_at(tiny, images), target(*CLASSES), options)
    np.testing.assert_allclose(drawn.values_bhw, stretch(slopes.sum(1)), atol=1e-3)
    score = saliency.get("gradient").draw(
        looked_at(tiny, images), target(*CLASSES), {**options, "model_of": "score"}
    )
    turned = stretch(-torch.from_numpy(score.values_bhw)).numpy()
    assert np.abs(drawn.values_bhw - turned).max() > 0.02, "no mere score with its sign turned"


class _Sure(nn.Module):
    """A head that is sure of class 5: its softmax is 1 in float32, that of others 1e-9."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, cells: Tensor) -> Tensor:
        logits: Tensor = self.head(cells)
        lift = torch.zeros(logits.shape[1])
        lift[5] = 28.0
        return logits + lift


def test_the_loss_of_a_sure_class_still_has_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, images = seeded_backbone("squeezenet1_1"), random_images(1)
    head = _Sure(backbone.head)
    monkeypatch.setattr(backbone, "head", head)
    looked = looked_at(backbone, images)
    assert float(looked.probability[0, 5]) == 1
    exact = backbone.normalised(images).requires_grad_(True)
    logits = backbone.logits_at(exact).double()
    # log of (1 + sum of exp(z_k - z_5)), whose terms float32 would round away.
    others = torch.cat([logits[:, :5], logits[:, 6:]], 1) - logits[:, 5:6]
    (slopes,) = torch.autograd.grad(torch.log1p(others.exp().sum()), exact)
    expected = slopes / slopes.abs().max()
    drawn = saliency.get("gradient").draw(looked, target(5), {"model_of": "loss"}).values_bhw
    np.testing.assert_allclose(drawn, stretch(expected.abs().amax(1)), atol=1e-3)


def likeliest(looked: Looked) -> list[int]:
    """Of each picture: Grad-CAM of a random class may be below zero everywhere."""
    return looked.logits.argmax(1).tolist()


def test_guided_gradcam_gives_what_captum_gives() -> None:
    """Of one and the same network, folded and plain, at a side that both take as it is."""
    backbone, images = seeded_backbone("resnet18"), random_images(2)
    captum, model = pytest.importorskip("captum.attr"), plain("resnet18")
    looked = looked_at(backbone, images)
    classes = likeliest(looked)
    found = located_slopes(looked, target(*classes))
    pixels = backbone.normalised(images).contiguous()
    method = captum.GuidedGradCam(model, model.layer4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = method.attribute(pixels, target=classes, interpolate_mode="bilinear").detach()
    assert float(cosines(found, expected).min()) > 0.999


def test_guided_gradcam_is_the_product_of_its_parts_for_relu6() -> None:
    """captum has no rule for ReLU6, so hooks and the mean slope in closed form stand for it."""
    backbone, images = seeded_backbone("mobilenet_v2"), random_images(2)
    looked, model = looked_at(backbone, images), plain("mobilenet_v2")
    classes = likeliest(looked)
    slopes = _back_by_hooks(model, backbone.normalised(images), classes, gated=True)
    weight = model.get_parameter("classifier.1.weight")[classes]
    where = F.relu(torch.einsum("bc,bchw->bhw", weight, looked.features.cells_bchw))
    fine = F.interpolate(where[:, None], (SIDE_PX, SIDE_PX), mode="bilinear")
    found = located_slopes(looked, target(*classes))
    assert float(cosines(found, slopes * fine).min()) > 0.999


def test_options_of_a_gradient_that_cannot_be_read_are_refused(tiny: Backbone) -> None:
    looked = looked_at(tiny, random_images(1))
    with pytest.raises(LabelConfigInvalid, match="one of strongest, sum"):
        saliency.get("gradient").draw(looked, target(5), {"model_channels": "mean"})
    with pytest.raises(LabelConfigInvalid, match="one of score, loss"):
        saliency.get("smoothgrad").draw(looked, target(5), {"model_of": "logit"})
    assert saliency.get("gradient").options is GradientOptions


@pytest.mark.parametrize(
    ("method", "attributed", "of_channels"),
    [
        ("smoothgrad", attribution.smoothgrad, lambda a: a.abs().amax(1)),
        ("input_x_gradient", attribution.input_x_gradient, lambda a: a.sum(1).abs()),
        ("integrated_gradients", attribution.integrated_gradients, lambda a: a.sum(1).abs()),
    ],
)
def test_maps_are_drawn_from_the_attributions_of_all_the_targets_classes(
    tiny: Backbone,
    method: str,
    attributed: Callable[[attribution.Scores, Tensor], Tensor],
    of_channels: Callable[[Tensor], Tensor],
) -> None:
    images = random_images(1)
    both = Target(torch.tensor([[4, 9]]), torch.tensor([[0.75, 0.25]]))

    def scores(of: Tensor) -> Tensor:
        logits = tiny.logits_at(of)
        return 0.75 * logits[:, 4] + 0.25 * logits[:, 9]

    expected = stretch(of_channels(attributed(scores, tiny.normalised(images))))
    drawn = saliency.get(method).draw(looked_at(tiny, images), both).values_bhw
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("method", FAMILY)
def test_the_same_picture_gives_the_same_map_and_one_of_one_colour_no_nan(
    tiny: Backbone, method: str
) -> None:
    images = random_images(2)
    images[1] = 124
    draw = saliency.get(method).draw
    with torch.inference_mode():
        chosen = target(*CLASSES)  # as targets come from a look
    first = draw(looked_at(tiny, images), chosen).values_bhw
    assert first.shape == (2, SIDE_PX, SIDE_PX)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, draw(looked_at(tiny, images), chosen).values_bhw)


class _Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken head")


@pytest.mark.parametrize("method", FAMILY)
def test_nothing_stays_behind_not_even_after_an_exception(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    backbone = seeded_backbone("squeezenet1_1")
    looked = looked_at(backbone, random_images(2))
    before = network_state(backbone)
    drawn = saliency.get(method).draw(looked, target(*CLASSES)).values_bhw
    with monkeypatch.context() as broken:
        broken.setattr(backbone, "head", _Broken())
        with pytest.raises(RuntimeError, match="broken head"):
            saliency.get(method).draw(looked, target(*CLASSES))
    assert network_state(backbone) == before
    assert torch._C._len_torch_function_stack() == 0
    again = saliency.get(method).draw(looked, target(*CLASSES)).values_bhw
    np.testing.assert_array_equal(again, drawn)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "input_x_gradient"])
@pytest.mark.slow
def test_memory_does_not_grow(tiny: Backbone, method: str) -> None:
    looked, chosen = looked_at(tiny, random_images(1)), target(5)
    draw = saliency.get(method).draw

    def tensors_alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    for _ in range(20):
        draw(looked, chosen)
    alive, bytes_before = tensors_alive(), psutil.Process().memory_info().rss
    for _ in range(100):
        draw(looked, chosen)
    assert tensors_alive() == alive
    # One pass keeps some 10 MB of activations: 100 that leaked would be far above this.
    assert psutil.Process().memory_info().rss - bytes_before < 50 * 2**20


@pytest.mark.parametrize("method", FAMILY)
def test_no_pictures_larger_than_the_training_side_give_no_maps(
    tiny: Backbone, method: str
) -> None:
    none = looked_at(tiny, random_images(1, 256)).select(torch.arange(0))
    assert saliency.get(method).draw(none, target()).values_bhw.shape == (0, 224, 224)

"""Pictures of what a class looks like, by what the network says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import ShapeError
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.classes import ClassName
from backend.vision.imagined import Imagining, activation_maximisation
from tests.vision.conftest import SIDE_PX

QUICK = Imagining(steps=48, jitter=0)
"""Without jitter: to a random network a shifted picture is another one."""


def scores(backbone: Backbone, image_u8: Tensor) -> Tensor:
    return backbone.logits(backbone.features(image_u8[None]))[0]


@pytest.mark.parametrize(("which", "class_index"), [("tiny", 5), ("tiny_pooled", 700)])
@pytest.mark.slow
def test_the_class_scores_far_above_the_start(
    which: str, class_index: int, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(which)
    start = activation_maximisation(backbone, class_index, Imagining(steps=0))
    drawn = activation_maximisation(backbone, class_index, QUICK)
    assert drawn.shape == (3, SIDE_PX, SIDE_PX)
    assert drawn.dtype == torch.uint8
    before, after = scores(backbone, start), scores(backbone, drawn)
    spread = float(before.std())  # of the scores of all classes for one picture
    assert float(after[class_index] - before[class_index]) > 5 * spread
    if which == "tiny_pooled":  # the other's classes are much the same to it
        assert int(after.argmax()) == class_index


def test_the_start_is_an_even_grey(tiny: Backbone) -> None:
    start = activation_maximisation(tiny, 5, Imagining(steps=0)).float()
    assert abs(float(start.mean()) - 127.5) < 3
    assert float(start.std()) < 5


def test_one_seed_gives_one_picture_and_another_another(tiny: Backbone) -> None:
    first = activation_maximisation(tiny, 5, Imagining(steps=6))
    torch.testing.assert_close(activation_maximisation(tiny, 5, Imagining(steps=6)), first)
    other = activation_maximisation(tiny, 5, Imagining(steps=6, seed=1))
    assert (other.int() - first.int()).abs().float().mean() > 2


def test_the_decay_keeps_the_picture_near_the_mean_colour(tiny: Backbone) -> None:
    free = activation_maximisation(tiny, 5, Imagining(steps=24, decay=0))
    held = activation_maximisation(tiny, 5, Imagining(steps=24, decay=1000))
    energy = [float(tiny.normalised(one[None]).square().mean()) for one in (free, held)]
    assert energy[1] < energy[0] / 2


def test_jitter_makes_a_score_that_stands_shifts(tiny_pooled: Backbone) -> None:
    lost = []
    for jitter in (0.0, 0.1):
        options = Imagining(steps=24, jitter=jitter)
        drawn = activation_maximisation(tiny_pooled, 5, options)
        rolled = [drawn.roll((dy, dx), (1, 2)) for dy, dx in ((3, 0), (0, 5), (-5, 2), (4, -6))]
        after = sum(float(scores(tiny_pooled, one)[5]) for one in rolled) / 4
        lost.append(1 - after / float(scores(tiny_pooled, drawn)[5]))
    assert lost[1] < lost[0]


def test_a_side_and_a_trained_head_can_be_chosen(tiny_pooled: Backbone) -> None:
    weight = torch.zeros((2, 1280))
    weight[0, :40], weight[1, 40:80] = 1, 1
    names = (ClassName("", "cat"), ClassName("", "dog"))
    trained = tiny_pooled.classifying(weight, torch.zeros(2), names)
    options = Imagining(size_px=96, steps=24, jitter=0)
    for label in range(2):
        drawn = activation_maximisation(trained, label, options)
        assert drawn.shape == (3, 96, 96)
        assert int(scores(trained, drawn).argmax()) == label
    with pytest.raises(ShapeError, match="classes 0 to 1, got 2"):
        activation_maximisation(trained, 2)


def test_the_network_is_left_as_it_was(tiny: Backbone) -> None:
    parameters = [*tiny.head.parameters()]
    before = [one.clone() for one in parameters]
    with torch.inference_mode():  # which callers may be in
        drawn = activation_maximisation(tiny, 5, Imagining(steps=2))
    assert not drawn.is_inference()
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert all(one.grad is None and not one.requires_grad for one in parameters)


@pytest.mark.slow
def test_a_trained_network_is_sure_of_what_it_sees(shared_data: Path) -> None:
    weights = shared_data / "weights" / "mobilenet_v2_imagenet_f16.safetensors"
    backbone = load_backbone("mobilenet_v2", weights, "cpu")
    (index,) = backbone.matcher.match(("flamingo",))
    drawn = activation_maximisation(backbone, index, Imagining(steps=64))
    probability = torch.softmax(scores(backbone, drawn), 0)
    assert float(probability[index]) > 0.99
    red, green, _ = drawn.float().mean((1, 2))
    assert red > green

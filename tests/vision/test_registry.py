"""Registries answer unknown names with known ones."""

from __future__ import annotations

import pytest

from backend.errors import UnknownName
from backend.vision import backbones, boxes, saliency
from backend.vision.registry import Registry


def test_an_empty_registry_knows_nothing() -> None:
    registry: Registry[int] = Registry("number")
    assert registry.names() == ()
    with pytest.raises(UnknownName, match="no number named 'one'"):
        registry.get("one")


def test_the_nearest_name_comes_first() -> None:
    registry: Registry[int] = Registry("number")
    registry.add("alpha", 1)
    registry.add("three", 3)
    with pytest.raises(UnknownName) as caught:
        registry.get("thre")
    assert caught.value.remedy == "Known: three, alpha."


def test_a_name_is_given_once() -> None:
    registry: Registry[int] = Registry("number")
    registry.add("one", 1)
    with pytest.raises(ValueError, match="choose another name"):
        registry.add("one", 2)
    assert registry.get("one") == 1


def test_what_is_registered() -> None:
    assert backbones.names() == (
        "convnext_tiny",
        "efficientnet_b0",
        "embedded",
        "googlenet",
        "mobilenet_v2",
        "resnet18",
        "resnet50",
        "squeezenet1_1",
        "vgg16",
    )
    assert saliency.names() == (
        "ablationcam",
        "attention",
        "cam",
        "contrastive_excitation",
        "ddt",
        "deconvnet",
        "eigencam",
        "excitation_backprop",
        "fully_convolutional",
        "gradcam",
        "gradcam++",
        "gradient",
        "guided_backprop",
        "guided_gradcam",
        "guided_mask",
        "hirescam",
        "input_x_gradient",
        "integrated_gradients",
        "layercam",
        "meaningful_perturbation",
        "norm",
        "objectness",
        "objects",
        "occlusion",
        "prediction_difference",
        "ram",
        "rise",
        "scorecam",
        "self_taught",
        "smoothgrad",
        "soft_proposal",
        "spectral_residual",
        "xgradcam",
    )
    assert boxes.names() == ("multi_level", "quantile_grabcut", "threshold")
    assert all(saliency.get(name).box_rule in boxes.names() for name in saliency.names())

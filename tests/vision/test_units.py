"""Channels on which a class rests, on cells that are written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.errors import ConfigError, ShapeError
from backend.vision.backbones import Backbone, Features
from backend.vision.classes import ClassName
from backend.vision.look import Looked, look
from backend.vision.units import units
from tests.vision.conftest import random_images


def labelled(backbone: Backbone, weight: Tensor) -> Backbone:
    """The trunk under a head for two labels."""
    return backbone.classifying(
        weight, torch.tensor([5.0, -5.0]), (ClassName("", "cat"), ClassName("", "dog"))
    )


def looked_at(backbone: Backbone, cells_bchw: Tensor) -> Looked:
    features = Features(cells_bchw, 64)
    return Looked(backbone, random_images(len(cells_bchw)), features, backbone.logits(features))


@pytest.fixture
def by_hand(tiny: Backbone) -> Looked:
    """Three pictures, three channels on 1 x 2 cells; the means over cells are

    channel 0: 1, 2, 6; channel 1: 4, 0, 2; channel 2: 10, 10, 10.
    """
    cells = torch.tensor(
        [
            [[0.0, 2.0], [8.0, 0.0], [10.0, 10.0]],
            [[2.0, 2.0], [-1.0, 1.0], [10.0, 10.0]],
            [[12.0, 0.0], [2.0, 2.0], [20.0, 0.0]],
        ]
    )[:, :, None]
    weight = torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.0, 3.0]])
    return looked_at(labelled(tiny, weight), cells)


def test_channels_by_their_share_of_the_score_with_the_pictures_that_excite_them(
    by_hand: Looked,
) -> None:
    first, second = units(by_hand, 0, most=2, examples=2)
    assert (first.channel, first.weight, first.pictures) == (0, 2.0, (2, 1))
    assert first.share == pytest.approx(2 * (1 + 2 + 6) / 3)
    assert first.excitation == pytest.approx((6, 2))
    np.testing.assert_allclose(first.maps_khw, np.array([[[1, 0]], [[1 / 6, 1 / 6]]]), rtol=1e-6)
    assert (second.channel, second.weight, second.pictures) == (1, 1.0, (0, 2))
    assert second.share == pytest.approx(2)
    np.testing.assert_allclose(second.maps_khw, np.array([[[1, 0]], [[0.25, 0.25]]]))


def test_all_channels_share_the_mean_score_and_the_negative_come_last(by_hand: Looked) -> None:
    found = units(by_hand, 0, most=100, examples=100)
    assert [unit.channel for unit in found] == [0, 1, 2]
    assert found[-1].share == pytest.approx(-10)
    assert all(len(unit.pictures) == 3 for unit in found)
    mean_score = float(by_hand.logits[:, 0].mean())
    assert sum(unit.share for unit in found) + 5 == pytest.approx(mean_score)
    (other,) = units(by_hand, 1, most=1)
    assert other.channel == 2
    assert other.share == pytest.approx(30)


def test_a_channel_that_nothing_excites_has_empty_maps(tiny: Backbone) -> None:
    looked = looked_at(labelled(tiny, torch.ones(2, 3)), torch.zeros(1, 3, 2, 2))
    for unit in units(looked, 0):
        assert unit.maps_khw.shape == (1, 2, 2)
        assert (unit.maps_khw == 0).all()


def test_the_network_s_own_classes_have_units_too(tiny_pooled: Backbone) -> None:
    looked = look(tiny_pooled, random_images(3).permute(0, 2, 3, 1).contiguous().numpy())
    found = units(looked, 700, most=1280)
    bias = float(tiny_pooled.class_bias(looked.features, torch.tensor([700] * 3))[0])
    mean_score = float(looked.logits[:, 700].mean())
    assert sum(unit.share for unit in found) + bias == pytest.approx(mean_score, abs=1e-3)
    assert [unit.share for unit in found] == sorted((u.share for u in found), reverse=True)


def test_a_head_without_a_weight_a_channel_is_refused(tiny: Backbone) -> None:
    looked = look(tiny, random_images(1).permute(0, 2, 3, 1).contiguous().numpy())
    with pytest.raises(ConfigError, match="squeezenet1_1") as caught:
        units(looked, 5)
    assert "mobilenet_v2" in caught.value.remedy


def test_pictures_and_a_class_of_the_head_are_needed(by_hand: Looked) -> None:
    with pytest.raises(ShapeError, match="class 2"):
        units(by_hand, 2)
    with pytest.raises(ShapeError, match="class -1"):
        units(by_hand, -1)
    with pytest.raises(ShapeError, match="0 pictures"):
        units(by_hand.select(torch.arange(0)), 0)

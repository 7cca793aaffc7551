"""Taps of every architecture, found from its graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.vision.architectures import ARCHITECTURES
from backend.vision.runtime import fold_batch_norm
from backend.vision.taps import tapped


def trunk_of(name: str) -> nn.Module:
    architecture = ARCHITECTURES.get(name)
    torch.manual_seed(0)
    model = architecture.build().to_empty(device="cpu")
    for value in model.state_dict().values():
        if value.is_floating_point():
            torch.nn.init.constant_(value, 0.01)
    return architecture.cut(model).trunk.eval()


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v2", [32, 96, 576, 320, 1280]),
        ("resnet18", [128, 256, 512]),
        ("squeezenet1_1", [256, 512]),
    ],
)
def test_taps_by_name(name: str, channels: list[int]) -> None:
    module = tapped(fold_batch_norm(trunk_of(name)))
    with torch.inference_mode():
        _, taps = module(torch.zeros(1, 3, 96, 96))
    assert [tap.shape[1] for tap in taps] == channels


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_every_architecture_has_taps_from_fine_to_coarse(name: str) -> None:
    trunk = fold_batch_norm(trunk_of(name))
    module = tapped(trunk)
    with torch.inference_mode():
        picture = torch.rand(1, 3, 128, 128)
        cells, taps = module(picture)
        assert torch.equal(cells, trunk(picture)), "tapping changes nothing"
    sides = [tap.shape[2] for tap in taps]
    assert len(taps) >= 2
    assert sides == sorted(sides, reverse=True)
    assert taps[-1].shape == cells.shape

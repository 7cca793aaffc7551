"""Small seeded networks and drawn pictures for the tests of backend.vision."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.domain import Picture, U8Array
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import Backbone, backbone_from_tensors
from backend.vision.runtime import TorchRuntime

SIDE_PX = 64


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public test data that lies beside the checkout on some machines."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the public test data is not at {folder}")
    return folder


needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)

QUICK = ("embedded", "mobilenet_v2", "resnet18", "squeezenet1_1")
"""Architectures for the fast tests, one of each head but VGG's and ConvNeXt's."""


def by_name(names: Sequence[str]) -> list[Any]:
    """Backbones to parametrise with; the large ones are slow."""
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in names]


def seeded_model(name: str, seed: int = 0) -> nn.Module:
    """torchvision's network with random weights whose scores differ from class to class."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = ARCHITECTURES.get(name).new_module()
        # As initialised, activations die away with depth; batches in training mode give
        # the normalisations statistics of their own.
        picture = torch.randn(4, 3, 96, 96)
        norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.uniform_(norm.bias, -0.2, 0.3)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
                    nn.init.normal_(layer.bias, std=0.1)
            if norms:
                model.train()
                model(picture)
    return model.eval()


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """A random SqueezeNet on pictures of 64 pixels."""
    return seeded_backbone("squeezenet1_1")


@pytest.fixture(scope="session")
def tiny_pooled() -> Backbone:
    """A random MobileNetV2 on pictures of 64 pixels."""
    return seeded_backbone("mobilenet_v2")


def seeded_backbone(name: str, **options: Any) -> Backbone:
    return backbone_from_tensors(
        name, seeded_model(name).state_dict(), **{"size_px": SIDE_PX, **options}
    )


def torch_runtime(trunk: nn.Module | None = None) -> TorchRuntime:
    """Of a small convolution unless another trunk is given."""
    if trunk is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 5, 3))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    return TorchRuntime(trunk, mean, std, torch.device("cpu"))


def network_state(backbone: Backbone) -> list[tuple[object, ...]]:
    """Hooks, mode, methods and parameters of every module: what nobody may leave changed."""
    runtime = backbone.runtime
    assert isinstance(runtime, TorchRuntime)
    return [
        (
            *(len(m._forward_hooks), len(m._forward_pre_hooks)),
            *(len(m._backward_hooks), len(m._backward_pre_hooks)),
            *(m.training, getattr(m, "inplace", None), "forward" in vars(m)),
            *((p.requires_grad, p.grad is None, p.sum().item()) for p in m.parameters()),
        )
        for m in (*runtime.trunk.modules(), *backbone.head.modules())
    ]


def random_images(count: int, side_px: int = SIDE_PX, seed: int = 1) -> Tensor:
    """(B, 3, S, S) uint8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0, 256, (count, 3, side_px, side_px), dtype=torch.uint8, generator=generator
    )


def drawn_picture(
    size_hw: tuple[int, int] = (120, 160), box: tuple[int, int, int, int] = (50, 30, 110, 90)
) -> Picture:
    """A red disc on green grass-like noise; the box is the disc's, half-open pixels."""
    height, width = size_hw
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    rgb = (noise + np.array([20, 120, 30])).astype(np.uint8)
    x0, y0, x1, y1 = box
    disc = np.zeros((height, width), np.uint8)
    centre = ((x0 + x1 - 1) // 2, (y0 + y1 - 1) // 2)
    cv2.ellipse(disc, centre, ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360, 1, -1)
    rgb[disc > 0] = (noise[disc > 0] + np.array([190, 20, 20])).astype(np.uint8)
    return as_picture(rgb)


def as_picture(rgb_u8: U8Array) -> Picture:
    return Picture(np.ascontiguousarray(rgb_u8), (rgb_u8.shape[0], rgb_u8.shape[1]), "drawn")

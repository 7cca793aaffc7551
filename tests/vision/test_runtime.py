"""The tuned forward pass gives what plain torch gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.vision import backbones, runtime
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import backbone_from_tensors
from backend.vision.runtime import (
    TorchRuntime,
    fold_batch_norm,
    low_precision,
    relative_error,
)
from tests.vision.conftest import by_name, random_images, seeded_backbone, seeded_model

RELATIVE_TOLERANCE = 1e-4
"""Float32 rounding alone: folding and another layout change the order of additions."""


@pytest.mark.parametrize("name", by_name(backbones.names()))
@pytest.mark.slow
def test_tuned_equals_plain(name: str) -> None:
    tensors = seeded_model(name).state_dict()
    images = random_images(2)
    plain = backbone_from_tensors(name, tensors, tuned=False, size_px=64).features(images)
    tuned = backbone_from_tensors(name, tensors, size_px=64)
    assert isinstance(tuned.runtime, TorchRuntime)
    assert tuned.runtime.form == "torch float32 channels_last"
    error = tuned.features(images).cells_bchw - plain.cells_bchw
    assert float(plain.cells_bchw.norm()) > 0.1
    assert float(error.norm() / plain.cells_bchw.norm()) < RELATIVE_TOLERANCE


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "efficientnet_b0"])
def test_every_batch_normalisation_is_folded(name: str) -> None:
    trunk, _ = ARCHITECTURES.get(name).cut(seeded_model(name))
    before = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    after = [m for m in fold_batch_norm(trunk).modules() if isinstance(m, nn.BatchNorm2d)]
    assert before
    assert after == []


class _Untraceable(nn.Module):
    """Branches on its values, which torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.norm(self.conv(x))
        return y if y.sum() > 0 else -y


def test_a_trunk_that_cannot_be_traced_runs_as_it_is() -> None:
    trunk = _Untraceable().eval()
    assert fold_batch_norm(trunk) is trunk
    one = TorchRuntime(trunk, (0, 0, 0), (1, 1, 1), torch.device("cpu"))
    assert one.cells(random_images(1, 4)).shape == (1, 2, 4, 4)


def test_a_convolution_with_a_second_reader_keeps_its_normalisation() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            self.norm = nn.BatchNorm2d(2)
            nn.init.constant_(self.norm.bias, 3.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(x)
            return y + self.norm(y)  # type: ignore[no-any-return]

    trunk = Shared().eval()
    x = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fold_batch_norm(trunk)(x), trunk(x))


def test_normalisation_happens_on_the_pixels_by_hand() -> None:
    one = TorchRuntime(nn.Identity(), (0.5, 0.0, 0.2), (0.5, 1.0, 0.1), torch.device("cpu"))
    images = torch.tensor([255, 51, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([1.0, 0.2, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(one.cells(images), expected, atol=1e-6, rtol=0)
    assert int(images[0, 0, 0, 0]) == 255  # the caller's pixels stay


@pytest.mark.parametrize("name", ["embedded", "squeezenet1_1"])
def test_every_form_is_the_same_network(name: str) -> None:
    usual = seeded_backbone(name).runtime
    assert isinstance(usual, TorchRuntime)
    before = usual.cells(random_images(2))
    assert usual.running_as(torch.float32, torch.channels_last) is usual
    contiguous = usual.running_as(torch.float32, torch.contiguous_format)
    assert contiguous.form == "torch float32 contiguous_format"
    weights = next(p for p in contiguous.trunk.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weights.is_contiguous()
    assert contiguous.normalised(random_images(2)).is_contiguous()
    assert relative_error(contiguous.cells(random_images(2)), before) < RELATIVE_TOLERANCE
    cells, taps = contiguous.cells_and_taps(random_images(2))
    expected, expected_taps = usual.cells_and_taps(random_images(2))
    assert relative_error(cells, expected) < RELATIVE_TOLERANCE
    assert len(taps) == len(expected_taps) > 0
    low = contiguous.running_as(torch.bfloat16, torch.contiguous_format)
    assert low.form == "torch bfloat16 contiguous_format"
    assert low.trunk is contiguous.trunk  # parameters are copied for another order alone
    error = relative_error(low.cells(random_images(2)), before)
    assert RELATIVE_TOLERANCE < error < 0.2
    assert torch.equal(usual.cells(random_images(2)), before)  # the first one stays as it was


def test_a_reduced_precision_that_is_wrong_does_not_agree() -> None:
    class Cancelling(nn.Module):
        """Adds and takes away a number that swallows the picture in 16 bits."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)
            nn.init.ones_(self.conv.weight)
            nn.init.constant_(self.conv.bias, 4096.0)  # type: ignore[arg-type]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).float() - 4096.0  # type: ignore[no-any-return]

    device = torch.device("cpu")
    refused = TorchRuntime(Cancelling(), (0, 0, 0), (1, 1, 1), device)
    assert not refused.agrees(torch.bfloat16)
    assert refused.agrees(torch.float32)
    accepted = TorchRuntime(nn.Conv2d(3, 4, 3), (0, 0, 0), (1, 1, 1), device)
    assert accepted.agrees(torch.bfloat16)
    low = accepted.running_as(torch.bfloat16, torch.channels_last)
    assert low.cells(random_images(1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu avx2 avx512f", None),
        ("avx512f avx512_bf16", torch.bfloat16),
        ("avx512f amx_bf16", torch.bfloat16),
        ("", None),
    ],
    ids=["none", "avx512", "amx", "unknown"],
)
def test_reduced_precision_is_for_processors_that_multiply_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, found: torch.dtype | None
) -> None:
    monkeypatch.setattr(runtime, "processor", lambda: {"flags": flags} if flags else {})
    assert low_precision(torch.device("cpu")) == found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_agrees_with_the_cpu() -> None:
    images = random_images(4, 96)
    cpu = seeded_backbone("mobilenet_v2").features(images).cells_bchw
    gpu = seeded_backbone("mobilenet_v2", device="cuda").features(images).cells_bchw.cpu()
    assert float((gpu - cpu).norm() / cpu.norm()) < 0.03

"""OpenVINO gives what torch gives, or torch runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import structlog.testing
import torch
from torch import Tensor, nn

from backend.errors import ConfigError
from backend.vision import backbones, openvino_runtime
from backend.vision.backbones import load_backbone
from backend.vision.look import to_device
from backend.vision.openvino_runtime import (
    FLOAT32_TOLERANCE,
    PROGRAMS_KEPT,
    OpenVinoRuntime,
    chosen_runtime,
)
from backend.vision.runtime import LOW_PRECISION_TOLERANCE, TorchRuntime, relative_error
from tests.vision.conftest import SIDE_PX, by_name, random_images, seeded_backbone

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)

CLOSE = 1e-4
"""Relative: float32 sums in another order."""


def torch_runtime(trunk: nn.Module | None = None) -> TorchRuntime:
    """Of a small convolution unless another trunk is given."""
    if trunk is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 5, 3))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    return TorchRuntime(trunk, mean, std, torch.device("cpu"))


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that does not multiply 16-bit numbers."""
    monkeypatch.setattr(openvino_runtime, "_multiplies_bfloat16", lambda: False)


def _none_installed() -> Any:
    raise ImportError("No module named 'openvino'")


@needs_openvino
@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("name", by_name(backbones.names()))
@pytest.mark.slow
def test_cells_and_taps_are_those_of_torch(name: str) -> None:
    plain = seeded_backbone(name, tuned=False).runtime
    fast = seeded_backbone(name, runtime="openvino").runtime
    assert (plain.name, fast.name) == ("torch", "openvino")
    images = random_images(3)
    cells, taps = fast.cells_and_taps(images)
    expected_cells, expected_taps = plain.cells_and_taps(images)
    assert len(taps) == len(expected_taps) > 0
    for found, expected in zip((cells, *taps), (expected_cells, *expected_taps), strict=True):
        assert found.dtype == torch.float32
        assert found.shape == expected.shape
        assert float(expected.norm()) > 0.1
        assert relative_error(found, expected) < CLOSE
    assert relative_error(fast.cells(images), expected_cells) < CLOSE


@needs_openvino
def test_an_answer_does_not_depend_on_its_batch() -> None:
    runtime = OpenVinoRuntime(torch_runtime())
    images = random_images(5)
    together = runtime.cells(images)
    alone = torch.cat([runtime.cells(image[None]) for image in images])
    assert torch.equal(together, alone)
    assert runtime.cells(images[:0]).shape == (0, *together.shape[1:])
    kept = together.clone()
    runtime.cells(random_images(5, seed=9))
    assert torch.equal(together, kept)  # a later call does not write into an earlier answer


@needs_openvino
def test_pixels_in_either_memory_order_are_the_same_pixels() -> None:
    backbone = seeded_backbone("squeezenet1_1", runtime="openvino")
    squares = np.ascontiguousarray(random_images(2).permute(0, 2, 3, 1).numpy())
    channels_last = to_device(backbone, squares)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    channels_first = channels_last.contiguous()
    assert torch.equal(
        backbone.runtime.cells(channels_last), backbone.runtime.cells(channels_first)
    )


@needs_openvino
def test_every_size_is_compiled_once_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OpenVinoRuntime(torch_runtime())
    exact = torch_runtime()
    compiled: list[tuple[int, int]] = []
    compile_one = runtime._compiled

    def count(size_hw: tuple[int, int], with_taps: bool, precision: str) -> Any:
        compiled.append(size_hw)
        return compile_one(size_hw, with_taps, precision)

    monkeypatch.setattr(runtime, "_compiled", count)
    sides = [16 + i for i in range(PROGRAMS_KEPT + 1)]
    for side in [*sides, sides[-1], sides[1]]:
        images = random_images(2, side)
        assert relative_error(runtime.cells(images), exact.cells(images)) < LOW_PRECISION_TOLERANCE
    assert compiled == [(side, side) for side in sides]
    runtime.cells(random_images(1, sides[0]))  # the one that was given up
    assert compiled[-1] == (sides[0], sides[0])


@needs_openvino
@pytest.mark.slow
def test_gradients_are_torchs_on_the_same_parameters() -> None:
    backbone = seeded_backbone("squeezenet1_1", runtime="openvino")
    expected = seeded_backbone("squeezenet1_1")
    images = random_images(1)
    with torch.inference_mode():  # what is converted in here must not lose its gradients
        found, found_taps = backbone.tapped(images)
    gradients: list[Tensor] = []
    for one in (backbone, expected):
        pixels = one.normalised(images).requires_grad_()
        one.logits_at(pixels)[0, 3].backward()  # type: ignore[no-untyped-call]
        assert pixels.grad is not None
        gradients.append(pixels.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    cells, taps = backbone.tapped_at(backbone.normalised(images))
    assert relative_error(found.cells_bchw, cells) < LOW_PRECISION_TOLERANCE
    assert len(taps) == len(found_taps)


class _Cancelling(nn.Module):
    """Adds and takes away a number that swallows the picture in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        nn.init.ones_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, 4096.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y.relu() - 4096.0


@needs_openvino
def test_reduced_precision_stays_within_its_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a processor without such instructions OpenVINO computes in float32 whatever is asked.
    monkeypatch.setattr(openvino_runtime, "_multiplies_bfloat16", lambda: True)
    images = random_images(2)
    for trunk in (nn.Conv2d(3, 4, 3), _Cancelling()):
        exact = torch_runtime(trunk)
        runtime = OpenVinoRuntime(exact)
        with structlog.testing.capture_logs() as logged:
            assert runtime.runs(SIDE_PX)
        assert logged[0]["precision"] == "bf16"
        assert logged[-1]["accepted"]
        if logged[-1]["precision"] == "f32":  # then it is not tried again at another size
            with structlog.testing.capture_logs() as again:
                assert runtime.runs(SIDE_PX + 1)
            assert [line["precision"] for line in again] == ["f32"]
        with torch.inference_mode():
            expected = exact.cells_at(exact.normalised(images))
        assert relative_error(runtime.cells(images), expected) < LOW_PRECISION_TOLERANCE


@needs_openvino
def test_a_wrong_result_leaves_torch_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    run = openvino_runtime._Program.run

    def slightly_off(program: Any, images_u8: Tensor) -> list[Tensor]:
        return [output * (1 + 10 * LOW_PRECISION_TOLERANCE) for output in run(program, images_u8)]

    monkeypatch.setattr(openvino_runtime._Program, "run", slightly_off)
    exact = torch_runtime()
    with structlog.testing.capture_logs() as logged:
        assert chosen_runtime(exact, "auto", SIDE_PX) is exact
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == [
        "openvino_not_used"
    ]
    images = random_images(2)
    started = OpenVinoRuntime(exact)  # one that passed at another size
    assert torch.equal(started.cells(images), exact.cells(images))


@needs_openvino
def test_values_that_are_no_numbers_do_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    run = openvino_runtime._Program.run
    monkeypatch.setattr(
        openvino_runtime._Program,
        "run",
        lambda program, images_u8: [output * float("nan") for output in run(program, images_u8)],
    )
    exact = torch_runtime()
    assert chosen_runtime(exact, "auto", SIDE_PX) is exact


class _Branching(nn.Module):
    """Of a kind that OpenVINO cannot convert."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.linalg.eigvalsh(x @ x.transpose(-1, -2))
        return found[..., None]


@needs_openvino
def test_what_cannot_be_converted_stays_with_torch() -> None:
    exact = torch_runtime(_Branching())
    with structlog.testing.capture_logs() as logged:
        assert chosen_runtime(exact, "openvino", SIDE_PX) is exact
    assert logged[-1]["event"] == "openvino_not_used"


def test_without_openvino_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "_openvino", _none_installed)
    assert seeded_backbone("squeezenet1_1", runtime="auto").runtime.name == "torch"
    with pytest.raises(ConfigError, match="pip install openvino"):
        seeded_backbone("squeezenet1_1", runtime="openvino")


def test_each_name_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch_runtime()
    assert chosen_runtime(exact, "torch", SIDE_PX) is exact
    assert load_backbone("embedded", None, "cpu", "torch", size_px=96).runtime.name == "torch"
    plain = load_backbone("embedded", None, "cpu", size_px=96, tuned=False)
    assert plain.runtime.name == "torch"
    monkeypatch.setattr(exact, "device", torch.device("cuda"))
    assert chosen_runtime(exact, "auto", SIDE_PX) is exact
    with pytest.raises(ConfigError, match="DEVICE=cpu"):
        chosen_runtime(exact, "openvino", SIDE_PX)


@needs_openvino
def test_auto_is_openvino_on_a_cpu_where_it_is_installed() -> None:
    fast = load_backbone("embedded", None, "cpu", size_px=96)
    plain = load_backbone("embedded", None, "cpu", "torch", size_px=96)
    assert (fast.runtime.name, plain.runtime.name) == ("openvino", "torch")
    assert fast.identity == plain.identity  # and so model_version, and the cached features
    images = random_images(2, 96)
    features, expected = fast.features(images), plain.features(images)
    error = relative_error(features.cells_bchw, expected.cells_bchw)
    assert error < LOW_PRECISION_TOLERANCE + FLOAT32_TOLERANCE


@needs_openvino
@pytest.mark.slow
def test_the_package_tells_nobody_that_it_is_used() -> None:
    code = (
        "import sys\n"
        "from backend.vision.openvino_runtime import _core\n"
        "_core()\n"
        "told = [m for m in sys.modules if m.startswith('openvino_telemetry.')]\n"
        "assert not told and sys.modules['openvino_telemetry'] is None, told\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

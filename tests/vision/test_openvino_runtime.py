"""OpenVINO gives what torch gives, or torch runs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import structlog.testing
import torch
from torch import Tensor, nn

from backend.vision import backbones, openvino_runtime
from backend.vision.look import to_device
from backend.vision.openvino_runtime import PROGRAMS_KEPT, OpenVinoRuntime
from backend.vision.runtime import LOW_PRECISION_TOLERANCE, relative_error
from tests.vision.conftest import (
    SIDE_PX,
    by_name,
    needs_openvino,
    random_images,
    seeded_backbone,
    torch_runtime,
)

CLOSE = 1e-4
"""Relative: float32 sums in another order."""


@needs_openvino
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

    def count(size_hw: tuple[int, int], with_taps: bool) -> Any:
        compiled.append(size_hw)
        return compile_one(size_hw, with_taps)

    monkeypatch.setattr(runtime, "_compiled", count)
    sides = [16 + i for i in range(PROGRAMS_KEPT + 1)]
    for side in [*sides, sides[-1], sides[1]]:
        images = random_images(2, side)
        assert relative_error(runtime.cells(images), exact.cells(images)) < CLOSE
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
    assert relative_error(found.cells_bchw, cells) < CLOSE
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
def test_reduced_precision_stays_within_its_tolerance() -> None:
    # On a processor without such instructions OpenVINO computes in float32 whatever is asked.
    images = random_images(2)
    for trunk in (nn.Conv2d(3, 4, 3), _Cancelling()):
        exact = torch_runtime(trunk)
        runtime = OpenVinoRuntime(exact, "bfloat16")
        right = runtime.runs(SIDE_PX)
        with structlog.testing.capture_logs() as logged:
            cells = runtime.cells(images)
        with torch.inference_mode():
            expected = exact.cells_at(exact.normalised(images))
        assert relative_error(cells, expected) < LOW_PRECISION_TOLERANCE
        if right:
            assert (runtime.form, logged) == ("openvino bfloat16", [])  # compiled by then
        else:  # and then it is not tried again at another size
            assert runtime.form == "openvino float32"
            with structlog.testing.capture_logs() as again:
                runtime.cells(random_images(1, SIDE_PX + 1))
            assert [line["precision"] for line in again] == ["float32"]


@needs_openvino
def test_another_precision_is_of_the_same_converted_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = OpenVinoRuntime(torch_runtime())
    assert runtime.runs(SIDE_PX)
    monkeypatch.setattr(openvino_runtime, "_converted", _must_not_be_called)
    other = runtime.running_as("bfloat16")
    assert other.runs(SIDE_PX)
    assert (runtime.form, other.form) == ("openvino float32", "openvino bfloat16")
    images = random_images(2)
    error = relative_error(other.cells(images), runtime.cells(images))
    assert error < LOW_PRECISION_TOLERANCE


def _must_not_be_called(*_: Any) -> Any:
    raise AssertionError("the network is converted once")


@needs_openvino
def test_a_size_whose_result_is_wrong_stays_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    run = openvino_runtime._Program.run

    def slightly_off(program: Any, images_u8: Tensor) -> list[Tensor]:
        return [output * (1 + 10 * LOW_PRECISION_TOLERANCE) for output in run(program, images_u8)]

    monkeypatch.setattr(openvino_runtime._Program, "run", slightly_off)
    exact = torch_runtime()
    runtime = OpenVinoRuntime(exact)
    images = random_images(2)
    with structlog.testing.capture_logs() as logged:
        assert torch.equal(runtime.cells(images), exact.cells(images))
    assert logged[-1]["event"] == "openvino_not_used"


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

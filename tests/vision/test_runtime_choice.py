"""The fastest of the right forms runs, and a second start measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import torch
from torch import Tensor, nn

from backend.errors import ConfigError
from backend.vision import openvino_runtime, runtime_choice
from backend.vision.backbones import load_backbone
from backend.vision.kept_choices import KeptChoices
from backend.vision.openvino_runtime import FLOAT32_TOLERANCE
from backend.vision.runtime import LOW_PRECISION_TOLERANCE, Runtime, relative_error
from backend.vision.runtime_choice import (
    MARGIN,
    MOST_PICTURES,
    chosen_runtime,
    preferred,
    seconds_a_picture,
)
from tests.vision.conftest import (
    SIDE_PX,
    needs_openvino,
    random_images,
    seeded_backbone,
    torch_runtime,
)

USUAL = "torch float32 channels_last"
CONTIGUOUS = "torch float32 contiguous_format"


class Course:
    """A clock that only the runners move. costs_s: of a picture, a pass each, the last again."""

    def __init__(self, **costs_s: list[float]) -> None:
        self.now_s = 0.0
        self.passes: dict[str, list[int]] = {name: [] for name in costs_s}
        self.forms: dict[str, Callable[[Tensor], object]] = {
            name: self._runner(name, costs) for name, costs in costs_s.items()
        }

    def _runner(self, name: str, costs_s: list[float]) -> Callable[[Tensor], object]:
        def run(images_u8: Tensor) -> None:
            done = self.passes[name]
            self.now_s += len(images_u8) * costs_s[min(len(done), len(costs_s) - 1)]
            done.append(len(images_u8))

        return run

    def run(self) -> dict[str, float]:
        images_u8 = random_images(MOST_PICTURES, 2)
        return seconds_a_picture(self.forms, images_u8, lambda: self.now_s)


def test_times_are_those_of_a_picture() -> None:
    took_s = Course(a=[0.5, 0.004], b=[0.5, 0.005]).run()  # whose first pass plans
    assert took_s == pytest.approx({"a": 0.004, "b": 0.005})


def test_a_disturbance_does_not_count() -> None:
    course = Course(a=[0.004, 0.004, 0.04, 0.004], b=[0.005, 0.005, 0.005, 0.05])
    assert course.run() == pytest.approx({"a": 0.004, "b": 0.005})


def test_small_networks_are_seen_in_batches_and_large_ones_one_by_one() -> None:
    small, large = Course(a=[0.001], b=[0.001]), Course(a=[0.2], b=[0.3])
    small.run()
    large.run()
    assert small.passes["a"][:3] == [1, 1, MOST_PICTURES]
    assert set(large.passes["a"]) == {1}


def test_what_is_hopeless_is_given_up() -> None:
    course = Course(a=[0.01], b=[0.011], c=[0.02])
    course.run()
    assert len(course.passes["c"]) < len(course.passes["a"]) == len(course.passes["b"])


@pytest.mark.parametrize("cost_s", [0.01, 0.3, 2.0, 60.0])
def test_the_time_is_bounded_and_the_first_is_always_measured(cost_s: float) -> None:
    course = Course(**{name: [cost_s] for name in "abcdef"})
    took_s = course.run()
    assert took_s["a"] == pytest.approx(cost_s)
    assert course.now_s <= max(2 * cost_s, 3.0 + 6 * cost_s)
    if cost_s == 0.01:
        assert course.now_s < 0.6


@pytest.mark.parametrize(
    ("took_s", "found"),
    [
        ({"a": 1.0}, "a"),
        ({"a": 1.0, "b": 0.99}, "a"),
        ({"a": 1.0, "b": 1 / (1 + 2 * MARGIN)}, "b"),
        ({"a": 1.0, "b": 0.5, "c": 0.49}, "b"),
        ({"a": 1.0, "b": 2.0}, "a"),
    ],
    ids=["one", "within-noise", "clearly-faster", "of-two-alike-the-first", "first-is-fastest"],
)
def test_who_is_preferred(took_s: dict[str, float], found: str) -> None:
    assert preferred(took_s) == found


class Measured:
    """In place of the clock: what a form is said to take; counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **took_s: float) -> None:
        self.took_s = {name.replace("_in_", " "): value for name, value in took_s.items()}
        self.asked: list[list[str]] = []
        monkeypatch.setattr(runtime_choice, "seconds_a_picture", self._answer)

    def _answer(self, forms: dict[str, Any], images_u8: Tensor, clock_s: Any) -> dict[str, float]:
        assert images_u8.is_contiguous(memory_format=torch.channels_last)
        for run in forms.values():
            run(images_u8[:1])
        self.asked.append(list(forms))
        said = {USUAL: 0.01, CONTIGUOUS: 0.02, **self.took_s}
        return {form: said.get(form, 1.0) for form in forms}


@pytest.fixture
def only_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that multiplies no 16-bit numbers."""
    monkeypatch.setattr(runtime_choice, "low_precision", lambda device: None)
    monkeypatch.setattr(runtime_choice, "multiplies_bfloat16", lambda: False)


@pytest.mark.usefixtures("only_float32")
@pytest.mark.parametrize(("contiguous_s", "found"), [(0.0097, USUAL), (0.009, CONTIGUOUS)])
def test_the_fastest_runs_if_it_is_clearly_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contiguous_s: float, found: str
) -> None:
    measured = Measured(monkeypatch)
    measured.took_s[CONTIGUOUS] = contiguous_s
    with structlog.testing.capture_logs() as logged:
        runtime = chosen_runtime(
            torch_runtime(), "torch", SIDE_PX, "net 1", KeptChoices.under(tmp_path)
        )
    assert runtime.form == found
    assert measured.asked == [[USUAL, CONTIGUOUS]]
    assert logged[-1]["event"] == "runtime_chosen"
    assert logged[-1]["runtime"] == found
    assert logged[-1]["images_s"][USUAL] == pytest.approx(100)
    images = random_images(2)
    error = relative_error(runtime.cells(images), torch_runtime().cells(images))
    assert error < FLOAT32_TOLERANCE


@pytest.mark.usefixtures("only_float32")
def test_a_second_start_measures_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = Measured(monkeypatch)
    measured.took_s[CONTIGUOUS] = 0.001
    choices = KeptChoices.under(tmp_path)

    def start(network: str = "net 1", side_px: int = SIDE_PX) -> Runtime:
        return chosen_runtime(torch_runtime(), "torch", side_px, network, choices)

    assert [start().form for _ in range(3)] == [CONTIGUOUS] * 3
    assert len(measured.asked) == 1
    start("net 2")  # other weights
    start(side_px=SIDE_PX + 32)
    assert len(measured.asked) == 3
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    start()
    assert len(measured.asked) == 4
    (tmp_path / "runtime.json").write_text("no JSON")
    assert start().form == CONTIGUOUS
    assert len(measured.asked) == 5


@pytest.mark.usefixtures("only_float32")
def test_a_kept_form_that_is_not_there_any_more_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured, choices = Measured(monkeypatch), KeptChoices.under(tmp_path)
    chosen_runtime(torch_runtime(), "torch", SIDE_PX, "net 1", choices)
    path = tmp_path / "runtime.json"
    kept = json.loads(path.read_text("utf-8"))
    kept["choices"][0]["chosen"] = "torch float8 spiral"
    path.write_text(json.dumps(kept), "utf-8")
    assert chosen_runtime(torch_runtime(), "torch", SIDE_PX, "net 1", choices).form == USUAL
    assert len(measured.asked) == 2


def test_a_16_bit_form_runs_only_where_it_agrees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime_choice, "low_precision", lambda device: torch.bfloat16)
    measured = Measured(monkeypatch)
    low = "torch bfloat16 channels_last"
    measured.took_s[low] = 0.001

    def start(trunk: nn.Module, folder: str) -> Runtime:
        choices = KeptChoices.under(tmp_path / folder)
        return chosen_runtime(torch_runtime(trunk), "torch", SIDE_PX, "net 1", choices)

    assert start(nn.Conv2d(3, 4, 3), "agrees").form == low
    assert start(nn.Conv2d(3, 4, 3), "agrees").form == low  # kept, and checked again
    assert start(_Cancelling(), "cancels").form == USUAL
    assert measured.asked[-1] == [USUAL, CONTIGUOUS]
    # Weights that agreed once and do not now, under the same name: measured anew.
    assert start(_Cancelling(), "agrees").form == USUAL


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
        return y.float() - 4096.0


@needs_openvino
@pytest.mark.usefixtures("only_float32")
@pytest.mark.parametrize(
    ("wanted", "torch_s", "found", "asked"),
    [
        ("auto", 0.001, USUAL, ["openvino float32", USUAL, CONTIGUOUS]),
        ("auto", 0.02, "openvino float32", ["openvino float32", USUAL, CONTIGUOUS]),
        ("openvino", 0.001, "openvino float32", ["openvino float32"]),
    ],
)
def test_openvino_is_measured_against_torch_unless_it_is_forced(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wanted: Any,
    torch_s: float,
    found: str,
    asked: list[str],
) -> None:
    measured = Measured(monkeypatch)
    measured.took_s |= {USUAL: torch_s, "openvino float32": 0.01}
    choices = KeptChoices.under(tmp_path)
    for _ in range(2):
        assert chosen_runtime(torch_runtime(), wanted, SIDE_PX, "net 1", choices).form == found
    assert measured.asked == [asked]


@needs_openvino
def test_the_real_self_test_takes_one_of_the_right_forms(tmp_path: Path) -> None:
    choices = KeptChoices.under(tmp_path)
    with structlog.testing.capture_logs() as logged:
        fast = load_backbone("embedded", None, "cpu", "auto", choices, size_px=96)
    chosen = next(line for line in logged if line["event"] == "runtime_chosen")
    assert chosen["runtime"] == fast.runtime.form
    assert {"openvino float32", USUAL, CONTIGUOUS} <= set(chosen["images_s"])
    assert all(figure > 0 for figure in chosen["images_s"].values())
    plain = load_backbone("embedded", None, "cpu", "torch", size_px=96)
    assert fast.identity == plain.identity  # and so model_version, and the cached features
    images = random_images(2, 96)
    error = relative_error(fast.features(images).cells_bchw, plain.features(images).cells_bchw)
    assert error < LOW_PRECISION_TOLERANCE + FLOAT32_TOLERANCE
    with structlog.testing.capture_logs() as logged:
        again = load_backbone("embedded", None, "cpu", "auto", choices, size_px=96)
    assert again.runtime.form == fast.runtime.form
    chosen = next(line for line in logged if line["event"] == "runtime_chosen")
    assert "images_s" not in chosen


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
def test_what_cannot_be_converted_stays_with_torch(tmp_path: Path) -> None:
    exact = torch_runtime(_Branching())
    for choices in (None, KeptChoices.under(tmp_path)):
        with structlog.testing.capture_logs() as logged:
            assert chosen_runtime(exact, "openvino", SIDE_PX, "net 1", choices) is exact
        assert logged[-1]["event"] == "openvino_not_used"


def _none_installed() -> Any:
    raise ImportError("No module named 'openvino'")


def test_without_openvino_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "_core", _none_installed)
    assert seeded_backbone("squeezenet1_1", runtime="auto").runtime.form == USUAL
    with pytest.raises(ConfigError, match="pip install openvino"):
        seeded_backbone("squeezenet1_1", runtime="openvino")


def test_each_name_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch_runtime()
    assert chosen_runtime(exact, "torch", SIDE_PX) is exact
    assert load_backbone("embedded", None, "cpu", "torch", size_px=96).runtime.form == USUAL
    plain = load_backbone("embedded", None, "cpu", size_px=96, tuned=False)
    assert plain.runtime.form == "torch float32"
    monkeypatch.setattr(exact, "device", torch.device("cuda"))
    assert chosen_runtime(exact, "auto", SIDE_PX) is exact
    with pytest.raises(ConfigError, match="DEVICE=cpu"):
        chosen_runtime(exact, "openvino", SIDE_PX)


@needs_openvino
def test_unmeasured_it_is_openvino_in_float32_on_a_cpu() -> None:
    fast = load_backbone("embedded", None, "cpu", size_px=96)
    assert fast.runtime.form == "openvino float32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_every_form_of_torch_is_measured(tmp_path: Path) -> None:
    choices = KeptChoices.under(tmp_path)
    with structlog.testing.capture_logs() as logged:
        load_backbone("embedded", None, "cuda", "auto", choices, size_px=96)
    chosen = next(line for line in logged if line["event"] == "runtime_chosen")
    assert {USUAL, CONTIGUOUS} <= set(chosen["images_s"])

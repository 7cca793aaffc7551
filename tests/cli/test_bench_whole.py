"""The measuring commands from beginning to end, on drawn pictures with a random network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
from safetensors.torch import save_file

from tests.cli.test_app import run
from tests.evaluation.sets import write_set
from tests.vision.conftest import seeded_model

KEYS = {"accepted", "f1_50", "f1_70", "mean_iou", "no_edit", "fit_s", "ece"}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("bench")
    weights = folder / "random.safetensors"
    tensors = {
        name: one.contiguous() for name, one in seeded_model("mobilenet_v2").state_dict().items()
    }
    save_file(tensors, weights)
    data = write_set(folder / "drawn", 12)
    return [
        *("--data", str(data), "--backbone", "mobilenet_v2", "--weights", str(weights)),
        *("--device", "cpu", "--cache", str(folder / "cache"), "--seeds", "1", "--json"),
    ]


def measured(arguments: list[str]) -> dict[str, Any]:
    told = run("bench", *arguments, OMP_NUM_THREADS="1")
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["versions"]["torch"]
    assert found["machine"]["threads"] == 1
    return found


@pytest.mark.slow
def test_accuracy(arguments: list[str], tmp_path: Path) -> None:
    plot = tmp_path / "curves.svg"
    found = measured(["accuracy", *arguments, "--accepted", "0,3,6", "--plot", str(plot)])
    assert found["data"] == "drawn"
    assert found["backbone"] == "mobilenet_v2"
    assert [row["accepted"] for row in found["curves"]] == [0, 3, 6]
    assert [row["accepted"] for row in found["constant"]] == [3, 6]
    for row in (*found["curves"], *found["constant"], found["zero_shot"]):
        assert row.keys() == KEYS
        assert all(0 <= row[name] <= 1 for name in KEYS - {"accepted", "fit_s"})
    assert found["curves"][1]["fit_s"] > 0
    assert parse(plot).getroot().get("role") == "img"


@pytest.mark.slow
def test_train(arguments: list[str]) -> None:
    at = arguments.index("--seeds")
    found = measured(["train", *arguments[:at], *arguments[at + 2 :], "--pictures", "14,4"])
    assert found["distinct"] == 12
    assert [row["pictures"] for row in found["fits"]] == [4, 14]
    assert 0 < found["before_mib"] <= found["fits"][0]["peak_mib"] <= found["fits"][1]["peak_mib"]
    for row in found["fits"]:
        assert row["fit_s"] > 0
        assert row["cpu_s"] > 0
        assert row["forward_s"] > 0
        assert 0 <= row["f1_50"] <= 1


@pytest.mark.slow
def test_next(arguments: list[str]) -> None:
    plan = ["--strategies", "mixed", "--start", "2", "--step", "3", "--most", "5"]
    found = measured(["next", *arguments, *plan])
    # What it is held against is measured without being asked for.
    assert [row["strategy"] for row in found["strategies"]] == ["mixed", "random"]
    for row in found["strategies"]:
        assert [point["accepted"] for point in row["curve"]] == [2, 5]
    assert found["goal_f1_50"] == found["strategies"][1]["curve"][-1]["f1_50"]


@pytest.mark.slow
def test_film() -> None:
    plan = ["--minutes", "0.2", "--height", "180", "--way", "motion"]
    found = measured(["film", *plan, "--backbone", "embedded", "--device", "cpu", "--json"])
    assert found["size_hw"] == [180, 320]
    assert found["tracks"] >= 1
    assert found["fps"] > 0
    assert found["growth_mb"] >= found["beyond_short_mb"]
    assert found["idle_mb"] > 0

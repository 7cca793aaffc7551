"""The commands that measure speed from beginning to end, on few drawn pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.test_app import run

pytestmark = pytest.mark.slow

NETWORK = ("--backbone", "embedded", "--device", "cpu", "--json")


def measured(*arguments: str) -> dict[str, Any]:
    told = run("bench", *arguments, *NETWORK)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["backbone"] == "embedded"
    assert found["side_px"] == 256
    assert found["machine"]["threads"] == 1
    assert found["versions"]["torch"]
    return found


def test_throughput() -> None:
    found = measured("throughput", "--tasks", "9", "--pictures", "2", "--rounds", "1")
    for name in ("eager_images_s", "forward_images_s", "whole_images_s", "inprocess_ms"):
        assert found[name] > 0, name
    for over, one, other in (
        ("forward_over_eager", "forward_images_s", "eager_images_s"),
        ("whole_over_forward", "whole_images_s", "forward_images_s"),
        ("gradient_over_plain", "gradient_images_s", "plain_gradient_images_s"),
    ):
        assert found[over] == pytest.approx(found[one] / found[other], rel=1e-2)
    for name, over in (
        ("naive_images_s", "whole_over_naive"),
        ("gradcam_ms", "gradcam_over_inprocess"),
        ("torchcam_ms", "torchcam_over_inprocess"),
    ):
        assert (found[name] is None) == (found[over] is None)
        assert found[name] is None or (found[name] > 0 and found[over] > 0)
    # What was timed was right.
    assert found["forward_error"] < 0.03
    assert found["same_boxes"] == 1
    assert found["tasks"] == 9


def test_overhead() -> None:
    found = measured("overhead", "--tasks", "40", "--singles", "2", "--rounds", "1")
    assert found["carrier_tasks"] == 64
    assert found["singles"] == 2
    assert found["cached_40_ms"] > 0
    assert found["forward_ms"] > 0
    assert 0 < found["single_p50_ms"] <= found["single_p95_ms"]
    assert found["single_p50_ms"] < found["single_whole_p50_ms"]
    assert found["queue_ms_per_task"] > 0


def test_latency() -> None:
    found = measured(
        "latency", *("--annotators", "3", "--seconds", "1", "--workers", "2", "--clicks", "1")
    )
    assert found["errors"] == 0
    assert found["error_examples"] == []
    assert found["requests"] >= 3
    assert found["workers"] == 2
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert 0 < found["click_p50_ms"] <= found["click_p95_ms"]


@pytest.mark.parametrize("question", ["throughput", "overhead", "latency"])
def test_a_wrong_name_is_refused_before_any_work(question: str) -> None:
    for option, name in (("--method", "grad_cm"), ("--backbone", "mobilnet")):
        told = run("bench", question, option, name)
        assert told.returncode == 2
        assert "Known: " in told.stderr
        assert "Traceback" not in told.stderr

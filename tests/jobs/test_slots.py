"""Which worker gets which device and how many threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.errors import SettingsInvalid
from backend.jobs.slots import (
    Slot,
    count_cpus,
    count_gpus,
    plan_slots,
    plan_train_slots,
    slot_environment,
)
from backend.settings import load_settings


@pytest.mark.parametrize(
    ("wanted", "gpu_count", "cpu_count", "expected"),
    [
        ({}, 0, 1, [("cpu", 1)]),
        ({}, 0, 2, [("cpu", 1), ("cpu", 1)]),
        ({}, 0, 32, [("cpu", 8)] * 4),
        ({"workers": 3}, 0, 2, [("cpu", 1)] * 3),
        ({"workers": 1}, 0, 6, [("cpu", 6)]),
        ({}, 2, 16, [("cuda:0", 8), ("cuda:1", 8)]),
        ({"workers": 3}, 2, 6, [("cuda:0", 2), ("cuda:1", 2), ("cuda:0", 2)]),
        ({"device": "cpu"}, 2, 2, [("cpu", 1), ("cpu", 1)]),
        ({"device": "cuda:1"}, 2, 4, [("cuda:1", 4)]),
        ({"device": "cuda", "workers": 1}, 2, 4, [("cuda:0", 4)]),
        ({"workers": 0}, 2, 4, []),
    ],
    ids=str,
)
def test_workers_share_devices_and_cores(
    wanted: dict[str, Any], gpu_count: int, cpu_count: int, expected: list[tuple[str, int]]
) -> None:
    slots = plan_slots(load_settings(**wanted), gpu_count, cpu_count)
    assert [(slot.device, slot.threads) for slot in slots] == expected
    assert [slot.number for slot in slots] == list(range(len(expected)))


@pytest.mark.parametrize(
    ("gpus", "wanted", "expected"),
    [(0, {}, [("cpu", 2)]), (2, {}, [("cuda:0", 2)]), (0, {"train_workers": 0}, []),
     (0, {"train_workers": 2}, [("cpu", 2), ("cpu", 3)])],
    ids=str,
)  # fmt: skip
def test_workers_that_train_stand_beside_the_others(
    gpus: int, wanted: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    settings = load_settings(workers=2, **wanted)
    slots = plan_train_slots(settings, gpus, len(plan_slots(settings, gpus, 4)))
    assert [(slot.device, slot.number) for slot in slots] == expected
    assert all((slot.kind, slot.threads) == ("train", 1) for slot in slots)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(SettingsInvalid, match="shows 0 NVIDIA GPUs"):
        plan_slots(load_settings(device=device), 0, 2)


def test_threads_are_in_the_environment_before_torch_is() -> None:
    assert slot_environment(Slot(0, "cpu", 3)) == {
        "OMP_NUM_THREADS": "3",
        "OMP_WAIT_POLICY": "PASSIVE",
        "THP_MEM_ALLOC_ENABLE": "1",
    }


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return write


def test_gpus_are_counted_by_their_driver(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi('echo "GPU 0: A (UUID: x)"; echo "  MIG 1g: y"; echo "GPU 1: A (UUID: z)"')
    assert count_gpus() == 2


def test_a_driver_tool_that_fails_leaves_the_device_files(
    nvidia_smi: Callable[[str], None],
) -> None:
    nvidia_smi("exit 9")
    files = [p for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit()]
    assert count_gpus() == len(files)


def test_at_least_one_core() -> None:
    assert count_cpus() >= 1

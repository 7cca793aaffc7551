"""Which worker gets which device, with how many threads."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backend.errors import SettingsInvalid
from backend.settings import Settings
from backend.store.fleet import WorkerKind

_NVIDIA_SMI_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker process. device: cpu or cuda:N. threads: of its arithmetic.

    kind: which queues its worker empties; one that trains is niced.
    """

    number: int
    device: str
    threads: int
    kind: WorkerKind = "predict"


def plan_slots(settings: Settings, gpu_count: int, cpu_count: int) -> list[Slot]:
    """One slot a worker: workers take turns on the GPUs and share the cores.

    Raises: SettingsInvalid when DEVICE asks for a GPU that is not there.
    """
    devices = _devices(settings.device, gpu_count)
    gpus = 0 if devices == ["cpu"] else len(devices)
    workers = settings.worker_count(gpus, cpu_count)
    threads = max(1, cpu_count // max(1, workers))
    return [Slot(i, devices[i % len(devices)], threads) for i in range(workers)]


def plan_train_slots(settings: Settings, gpu_count: int, first: int) -> list[Slot]:
    """Slots of the workers that train, one thread each. first: the number of the first one.

    Raises: SettingsInvalid when DEVICE asks for a GPU that is not there.
    """
    device = _devices(settings.device, gpu_count)[0]
    return [Slot(first + i, device, 1, "train") for i in range(settings.train_workers)]


def slot_environment(slot: Slot) -> dict[str, str]:
    """What has to be set before a worker imports torch.

    A second process on the same cores makes waiting threads that spin fifty times slower
    than waiting ones that sleep. Without THP every activation is returned to the kernel
    and faulted in again, which costs half the speed of large batches.
    """
    return {
        "OMP_NUM_THREADS": str(slot.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "THP_MEM_ALLOC_ENABLE": "1",
    }


def count_gpus() -> int:
    """NVIDIA GPUs of this machine, found without torch; 0 where there is none."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        try:
            listed = subprocess.run(  # noqa: S603 - found on the PATH like any tool
                [program, "-L"],
                capture_output=True,
                text=True,
                timeout=_NVIDIA_SMI_TIMEOUT_S,
                check=True,
            )
            return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
        except (OSError, subprocess.SubprocessError):
            pass  # a tool without its driver; the device files decide
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit())


def count_cpus() -> int:
    """Cores that this process may use: affinity and a container's quota count."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, _quota(Path("/sys/fs/cgroup/cpu.max")) or cpus))


def _quota(path: Path) -> int | None:
    # "200000 100000" allows two cores, "max 100000" all.
    if not path.is_file():
        return None
    quota, period = path.read_text("ascii").split()
    return None if quota == "max" else max(1, int(quota) // int(period))


def _devices(wanted: str, gpu_count: int) -> list[str]:
    if wanted == "cpu" or (wanted == "auto" and gpu_count == 0):
        return ["cpu"]
    if wanted in ("auto", "cuda"):
        devices = [f"cuda:{i}" for i in range(gpu_count)]
    else:
        devices = [wanted] if int(wanted.removeprefix("cuda:")) < gpu_count else []
    if not devices:
        raise SettingsInvalid(
            f"DEVICE={wanted}, but this machine shows {gpu_count} NVIDIA GPUs.",
            "Set DEVICE=cpu or auto, or check the driver with nvidia-smi.",
        )
    return devices

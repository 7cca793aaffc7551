"""Starting real workers and supervisors from tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from backend.jobs.queues import allow
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.settings import Settings, as_environment
from backend.store.fleet import Fleet
from tests.jobs import sample_jobs

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = sample_jobs.__name__


def environment(settings: Settings) -> dict[str, str]:
    """What a child process of a test gets."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **as_environment(settings)}


def allow_samples() -> None:
    """Lets this process queue the sample jobs."""
    for name in sample_jobs.NAMES:
        allow(f"{SAMPLE}.{name}")


def slot_command(_: Slot, name: str) -> Sequence[str]:
    """Command line of a worker process without a model."""
    return [sys.executable, "-m", "tests.jobs.slot_process", name]


def ticking(
    supervisor: Supervisor, condition: Callable[[], object], timeout_s: float = 20
) -> float:
    """Seconds until condition holds, while the supervisor does its work."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s"
        supervisor.tick()
        time.sleep(0.02)
    return time.monotonic() - began


@contextmanager
def supervised(
    settings: Settings, connection: redis.Redis, workers: int = 1, hang_grace_s: float = 15.0
) -> Iterator[Supervisor]:
    """A supervisor whose workers are ready; all are gone afterwards."""
    allow_samples()
    supervisor = Supervisor(
        settings,
        connection,
        [Slot(i, "cpu", 1) for i in range(workers)],
        environment(settings),
        command=slot_command,
        hang_grace_s=hang_grace_s,
        stop_grace_s=3.0,
    )
    try:
        supervisor.start()
        fleet = Fleet(connection)
        ticking(
            supervisor,
            lambda: sum(i.state == "ready" for i in fleet.alive(5)) == workers,
        )
        yield supervisor
    finally:
        supervisor.stop()

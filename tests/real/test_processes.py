"""`up` leaves no process behind, however it ends."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from backend.evaluation.backend_process import BackendProcess
from tests.real.projects import family


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["Ctrl-C", "polite kill", "kill -9"],
)
def test_nothing_is_left(
    backend_env: dict[str, str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    backend = BackendProcess(tmp_path, env={**backend_env, "WORKERS": "1"})
    backend.start()
    processes = family(backend.child.pid)
    assert len(processes) >= 3  # itself, Redis, a worker
    backend.child.signal(number)
    assert backend.child.wait(30) == status
    _, alive = psutil.wait_procs(processes[1:], timeout=20)
    backend.stop()
    assert [process.cmdline() for process in alive] == []
    assert not list(tmp_path.rglob("*.sock")) or number is signal.SIGKILL

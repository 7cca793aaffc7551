"""A child that is started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from backend.jobs.kept import KeptChild, pause_after


def test_pauses_grow_to_half_a_minute() -> None:
    assert [pause_after(n) for n in (0, 1, 2, 3, 4, 8, 100)] == [0, 0, 0.5, 1, 2, 30, 30]


def test_a_dead_child_is_told_once_and_started_again(until: Callable[..., None]) -> None:
    child = KeptChild(
        "sleeper", lambda: [sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ)
    )
    assert child.end(time.monotonic()) is None
    child.start()
    first = child.pid
    assert child.poll() is None
    child.signal(signal.SIGKILL)
    told: list[int] = []

    def ended() -> bool:
        status = child.poll()
        if status is not None:
            told.append(status)
        return bool(told)

    until(ended)
    assert told == [-signal.SIGKILL]
    assert child.poll() is None
    assert child.pid not in (None, first)
    assert child.end(time.monotonic()) == -signal.SIGKILL
    assert child.pid is None
    assert child.poll() is None, "an ended child stays ended"
    assert child.pid is None

"""A child that is started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from backend.jobs import kept
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


def test_what_waits_for_its_start_can_be_hurried(
    until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FIRST_PAUSE_S", 1000.0)
    monkeypatch.setattr(kept, "LONGEST_PAUSE_S", 1000.0)
    child = KeptChild("quitter", lambda: [sys.executable, "-c", ""], dict(os.environ))
    child.start()
    for _ in range(2):  # the second quick death is answered by a pause
        until(lambda: child.poll() is not None)
    child.poll()
    pids = [child.pid]
    child.hurry()
    child.poll()
    pids.append(child.pid)
    assert [pid is None for pid in pids] == [True, False]
    child.end(time.monotonic())
    child.hurry()
    child.poll()
    assert child.pid is None, "an ended child stays ended"

"""Jobs that tests run in worker processes; each is put on the allow-list there."""

from __future__ import annotations

import signal
import time
from typing import Any

from rq import get_current_job

from backend.errors import BackboneMismatch
from backend.jobs.patience import Patience
from backend.settings import load_settings
from backend.store.connection import connect

NAMES = ("count", "hold", "ignore_alarms", "raise_plain", "raise_retryable", "sleep", "steps")


def count(payload: Any) -> int:
    """How often this job ran; the first run takes payload["first_s"] seconds."""
    with connect(load_settings().redis_url) as client:
        runs = int(client.incr(payload["key"]))
    if runs == 1:
        time.sleep(payload["first_s"])
    return runs


def sleep(payload: Any) -> str:
    """Takes payload seconds."""
    time.sleep(payload)
    return "slept"


def steps(payload: Any) -> str:
    """Takes a step of each of these lengths, each within the same time."""
    with connect(load_settings().redis_url) as client:
        patience = Patience(client, get_current_job())
        for seconds in payload["seconds"]:
            patience.renew(payload["each_s"])
            time.sleep(seconds)
    return "done"


def hold(payload: Any) -> None:
    """Keeps the main thread until the key is there."""
    with connect(load_settings().redis_url) as client:
        while not client.exists(payload):
            time.sleep(0.01)


def ignore_alarms(payload: Any) -> None:
    """Hangs as a C call that never returns would."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    time.sleep(payload)


def raise_plain(payload: Any) -> None:
    """Fails by a defect."""
    with connect(load_settings().redis_url) as client:
        client.incr(payload)
    raise ValueError("a defect")


def raise_retryable(payload: Any) -> None:
    """Fails in a way that another try may help."""
    with connect(load_settings().redis_url) as client:
        client.incr(payload)
    raise BackboneMismatch("other weights", "wait")

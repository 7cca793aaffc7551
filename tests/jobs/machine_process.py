"""A machine of the tests: a supervisor with workers of ``carrier_process``, until SIGTERM.

Arguments: how many of its workers predict, how many train.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from backend.cli.children import StopSignals
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.logs import configure_logs
from backend.settings import load_settings
from backend.store.connection import connect
from tests.jobs.moved_clock import MOVED_S, move_clock


def command(slot: Slot, name: str) -> Sequence[str]:
    """Command line of a worker process with the tiny network."""
    kind = ["train"] if slot.kind == "train" else []
    return [sys.executable, "-m", "tests.jobs.carrier_process", name, *kind]


if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    move_clock(float(os.environ.get(MOVED_S, "0")))
    predict, train = map(int, sys.argv[1:])
    slots = [Slot(number, "cpu", 1) for number in range(predict)]
    slots += [Slot(predict + number, "cpu", 1, kind="train") for number in range(train)]
    signals = StopSignals()
    with connect(settings.redis_url) as client:
        supervisor = Supervisor(settings, client, slots, dict(os.environ), command=command)
        supervisor.run(signals.stopped)

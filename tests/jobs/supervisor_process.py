"""A supervisor process of the tests, with two workers of ``slot_process``."""

from __future__ import annotations

import os
import sys

from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.settings import load_settings
from backend.store.connection import connect

if __name__ == "__main__":
    settings = load_settings()
    with connect(settings.redis_url) as client:
        Supervisor(
            settings,
            client,
            [Slot(0, "cpu", 1), Slot(1, "cpu", 1)],
            dict(os.environ),
            command=lambda slot, name: [sys.executable, "-m", "tests.jobs.slot_process", name],
        ).run(lambda: False)

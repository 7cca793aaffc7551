"""A worker process of the tests that trains, with a learning of a few lines.

Arguments: its name. The first two fits on a Redis wait for each other, so that two trainings
are under way at the same time.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import redis

from backend.domain import BackboneIdentity
from backend.jobs import warming
from backend.jobs.worker import run_worker
from backend.logs import configure_logs
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from tests.jobs.conftest import seeded_backbone
from tests.jobs.plain_learner import PlainLearning

FITS, MET = "test:fits", "test:fits:met"
_MEET_S = 60.0


def meet(connection: redis.Redis) -> None:
    """Wait for another fit, once on this Redis."""
    connection.incr(FITS)
    until_s = time.monotonic() + _MEET_S
    while not connection.exists(MET) and time.monotonic() < until_s:
        fits: Any = connection.get(FITS)
        if int(fits) >= 2:
            connection.set(MET, 1)
        time.sleep(0.01)


def warm(settings: Settings, device: str) -> BackboneIdentity:
    """The real road with a network that needs no weights."""
    connection = connect(settings.redis_url)
    learning = PlainLearning(before_fit=lambda: meet(connection))
    return warming.warm(settings, device, backbone=seeded_backbone(), learner=learning.learner())


if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    sys.exit(run_worker(settings, name=sys.argv[1], device="cpu", warm=warm, kind="train"))

"""A worker process of the tests that predicts, with the tiny network of ``seeded_backbone``.

Arguments: its name, and "train" where it trains.
"""

from __future__ import annotations

import os
import sys

from backend.domain import BackboneIdentity
from backend.jobs import warming
from backend.jobs.worker import run_worker
from backend.logs import configure_logs
from backend.settings import Settings, load_settings
from tests.jobs.conftest import seeded_backbone
from tests.jobs.moved_clock import MOVED_S, move_clock
from tests.jobs.plain_learner import PlainLearning


def warm(settings: Settings, device: str) -> BackboneIdentity:
    """The real road with a network that needs no weights."""
    learner = PlainLearning().learner()
    return warming.warm(settings, device, backbone=seeded_backbone(), learner=learner)


if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    move_clock(float(os.environ.get(MOVED_S, "0")))
    name, *train = sys.argv[1:]
    sys.exit(
        run_worker(
            settings, name=name, device="cpu", warm=warm, kind="train" if train else "predict"
        )
    )

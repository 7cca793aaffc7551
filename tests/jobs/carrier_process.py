"""A worker process of the tests that predicts, with the tiny network of ``seeded_backbone``.

Arguments: its name.
"""

from __future__ import annotations

import sys

from backend.domain import BackboneIdentity
from backend.jobs import warming
from backend.jobs.worker import run_worker
from backend.logs import configure_logs
from backend.settings import Settings, load_settings
from tests.jobs.conftest import seeded_backbone
from tests.jobs.plain_learner import PlainLearning


def warm(settings: Settings, device: str) -> BackboneIdentity:
    """The real road with a network that needs no weights."""
    learner = PlainLearning().learner()
    return warming.warm(settings, device, backbone=seeded_backbone(), learner=learner)


if __name__ == "__main__":
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    sys.exit(run_worker(settings, name=sys.argv[1], device="cpu", warm=warm))

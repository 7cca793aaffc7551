"""A worker process of the tests: the real one, with a model that needs no loading.

Arguments: its name. BACKBONE=vgg16 stands for a model that cannot be loaded.
"""

from __future__ import annotations

import sys

from backend.domain import BackboneIdentity
from backend.errors import WeightsUnavailable
from backend.jobs.queues import allow
from backend.jobs.worker import run_worker
from backend.logs import configure_logs
from backend.settings import Settings, load_settings
from tests.jobs import sample_jobs


def warm(settings: Settings, device: str) -> BackboneIdentity:
    """Pretends to load."""
    if settings.backbone == "vgg16":
        raise WeightsUnavailable("No weights for vgg16.", "Set BACKBONE_WEIGHTS.")
    return BackboneIdentity(settings.backbone, "00ff", 224, (device,))


if __name__ == "__main__":
    for function in sample_jobs.NAMES:
        allow(f"{sample_jobs.__name__}.{function}")
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    sys.exit(run_worker(settings, name=sys.argv[1], device="cpu", warm=warm))

"""The `worker` command: the workers of this machine."""

from __future__ import annotations

from backend.cli.children import StopSignals, child_environment
from backend.errors import ConfigError
from backend.logs import configure_logs
from backend.settings import load_settings


def command() -> None:
    """Keep this machine's workers running, against the Redis of REDIS_URL.

    Example: REDIS_URL=redis://redis:6379/0 WORKERS=2 python -m backend worker
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    if not settings.redis_url:
        raise ConfigError(
            "REDIS_URL is empty: workers alone need the Redis that the server uses.",
            "Set REDIS_URL, or use `python -m backend up`, which brings its own Redis.",
        )
    from backend.jobs.slots import count_cpus, count_gpus, plan_slots, plan_train_slots
    from backend.jobs.supervisor import Supervisor
    from backend.store.connection import connect

    gpus = count_gpus()
    slots = plan_slots(settings, gpus, count_cpus())
    slots += plan_train_slots(settings, gpus, len(slots))
    if not slots:
        raise ConfigError(
            "WORKERS and TRAIN_WORKERS are both 0: there is nothing to start.",
            "Set one of them to 1 or more.",
        )
    signals = StopSignals()
    with connect(settings.redis_url) as connection:
        supervisor = Supervisor(settings, connection, slots, child_environment(settings))
        supervisor.run(signals.stopped)

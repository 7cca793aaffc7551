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

    slots = plan_slots(settings, count_gpus(), count_cpus())
    train_slots = plan_train_slots(settings, slots)
    signals = StopSignals()
    with connect(settings.redis_url) as connection:
        supervisor = Supervisor(
            settings, connection, slots + train_slots, child_environment(settings)
        )
        supervisor.run(signals.stopped)

"""The hidden `worker-slot` command: one worker process, started by the supervisor."""

from __future__ import annotations

import os
import sys
from enum import Enum

import typer

from backend.logs import configure_logs
from backend.settings import load_settings

_TRAIN_NICENESS = 10
"""A training uses what predictions leave of the cores."""

_SWITCH_S = 0.0005
"""After a round trip to Redis the thread of the work waits at most so long for a thread that
prepares pictures to give up the interpreter; Python's own 5 ms were most of the trip."""


class Kind(str, Enum):
    """What a worker does."""

    predict = "predict"
    train = "train"


def command(
    device: str = typer.Option(..., help="cpu or cuda:N."),
    name: str = typer.Option(..., help="Unique, never used before."),
    kind: Kind = typer.Option(Kind.predict, help="Which queues to empty."),
) -> None:
    """Load the model on a device and work until SIGTERM.

    Example: python -m backend worker-slot --device cpu --name here-0-1f2e
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    from backend.jobs.worker import run_worker

    # torch comes in here, after the supervisor has set its threads in the environment.
    from backend.jobs.carrier import warm  # isort: skip

    sys.setswitchinterval(_SWITCH_S)
    if kind is Kind.train:
        os.nice(_TRAIN_NICENESS)
    sys.exit(run_worker(settings, name=name, device=device, warm=warm, kind=kind.value))

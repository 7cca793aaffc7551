"""The `bench scale` command: many tasks, and many workers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from backend.cli import measuring
from backend.evaluation.scale import ScalePlan, measure_scale
from backend.evaluation.subject import Subject, measured_settings
from backend.vision import saliency

_STEPS = 2


def command(
    tasks: int = typer.Option(10_000, "--tasks", min=1, help="Tasks of the project."),
    workers: int = typer.Option(
        0, "--workers", min=0, help="Workers that sleep instead of computing; 0: a real one."
    ),
    compute_ms: float = typer.Option(
        6.0, "--compute-ms", min=0.0, help="Milliseconds that each of them sleeps a picture."
    ),
    method: str = measuring.METHOD,
    backbone_name: str = typer.Option("embedded", "--backbone", help="Of the real worker."),
    weights: Path | None = measuring.WEIGHTS,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Pre-annotate a project of small drawn pictures: memory of the worker, use of Redis.

    Redis, Label Studio (as much of it as that takes) and the pictures are served on this
    machine. growth_percent: of the worker's memory since the first 1,000 tasks. With
    --workers, processes that sleep stand for a fleet, and share_of_best tells how much of
    their time the queue let them use; on few cores, the cores are the limit.

    Example: python -m backend bench scale --tasks 10000 --json
    """
    saliency.get(method)
    subject = Subject.of(backbone_name, weights, "cpu", 1)
    plan = ScalePlan(tasks, workers, compute_ms, method)
    with TemporaryDirectory(prefix="bench-") as folder, measuring.steps(_STEPS) as bar:
        settings = measured_settings(subject, Path(folder))
        found = measure_scale(plan, settings, Path(folder), bar.step)
    measuring.tell(found, {}, as_json)

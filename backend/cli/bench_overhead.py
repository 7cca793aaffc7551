"""The `bench overhead` command: what a task costs beside the work on its picture."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from backend.cli import measuring
from backend.evaluation.overhead import Plan, measure_overhead
from backend.evaluation.speed_pictures import jpeg_files
from backend.evaluation.subject import Subject, measured_settings
from backend.vision import saliency


def command(
    data: Path | None = measuring.PICTURES,
    tasks: int = measuring.TASKS,
    singles: int = typer.Option(40, min=1, help="Calls of one task in a round."),
    rounds: int = measuring.ROUNDS,
    method: str = measuring.METHOD,
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    threads: int = measuring.THREADS,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Milliseconds that a task costs beside the work on its picture.

    Compute is what the worker measures: waiting for pictures, forward passes, boxes.
    queue_ms_per_task: a call of many new tasks, from the start of its first carrier job to
    the end of its last one, less the compute. single: a call of one new task, by the
    caller's clock, less the compute. cached: the call of many tasks again. One worker.
    forward_ms: the bare forward pass of one picture.

    Example: python -m backend bench overhead --weights FILE --json
    """
    saliency.get(method)
    subject = Subject.of(backbone_name, weights, device, threads)
    files = jpeg_files(data, measuring.DISTINCT)
    plan = Plan(tasks, singles, rounds, method)
    with TemporaryDirectory(prefix="bench-") as folder, measuring.steps(plan.steps) as bar:
        settings = measured_settings(subject, Path(folder))
        found = measure_overhead(subject, files, plan, settings, bar.step)
    measuring.tell(found, {}, as_json)

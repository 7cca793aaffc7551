"""The `bench soak` command: load with faults."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from backend.cli import measuring
from backend.evaluation.soak import SoakPlan, measure_soak
from backend.evaluation.subject import Subject, measured_settings
from backend.vision import saliency

_STEPS = 4
_MOST_MINUTES = 24 * 60.0


def command(
    minutes: float = typer.Option(
        30.0, "--minutes", min=0.1, max=_MOST_MINUTES, help="Minutes of load; more to settle."
    ),
    seed: int = typer.Option(0, "--seed", help="Of the faults and of what people do."),
    method: str = measuring.METHOD,
    backbone_name: str = typer.Option("embedded", "--backbone", help="Of the workers."),
    weights: Path | None = measuring.WEIGHTS,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Work on a project for minutes while parts of the backend are killed, stopped or cut off.

    Everything runs on this machine: `up` with its own Redis, two workers and a trainer, a
    stand-in for Label Studio, a server of drawn pictures. People open tasks, ask for many
    at once, annotate (webhooks train heads), ask for explanations; `preannotate` runs
    beside them. lost, duplicated: predictions and annotations, by comparing what was asked
    and annotated with what the stand-in and the ledger hold at the end. errors: answers that
    a person would see as wrong. memory_growth: percent, of the process that grew most.

    Example: python -m backend bench soak --minutes 30 --json
    """
    saliency.get(method)
    subject = Subject.of(backbone_name, weights, "cpu", 1)
    with TemporaryDirectory(prefix="bench-") as folder, measuring.steps(_STEPS) as bar:
        settings = measured_settings(subject, Path(folder))
        found = measure_soak(SoakPlan(minutes, seed, method), settings, Path(folder), bar.step)
    measuring.tell(found, {}, as_json)

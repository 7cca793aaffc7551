"""The `bench latency` command: how long annotators wait who open tasks at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from backend.cli import measuring
from backend.evaluation.latency import Load, measure_latency
from backend.evaluation.speed_pictures import jpeg_files
from backend.evaluation.subject import Subject, measured_settings
from backend.jobs.slots import count_cpus, count_gpus, plan_slots
from backend.vision import saliency

_STEPS = 3


def command(
    data: Path | None = measuring.PICTURES,
    annotators: int = typer.Option(50, min=1, help="People who open one task after the other."),
    seconds: float = typer.Option(60.0, min=0.1, help="How long they do."),
    pause: float = typer.Option(0.0, min=0.0, help="Seconds that each looks at a prediction."),
    clicks: int = typer.Option(
        0, min=0, help="Clicks with a smart tool on each opened task, one after the other."
    ),
    workers: int | None = typer.Option(None, min=1, help="As WORKERS; else what `up` would run."),
    method: str = measuring.METHOD,
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """How long annotators wait who all open tasks at once: errors, and percentiles in ms.

    Each posts one task that nobody has asked for yet to /predict, waits for its prediction
    and posts the next one. An error is any answer without a prediction. forward_images_s: the
    bare forward pass on one worker's threads, the limit of each worker. click: of the answers to
    clicks on a task that was just opened.

    Example: python -m backend bench latency --weights FILE --annotators 50 --seconds 60 --json
    """
    saliency.get(method)
    subject = Subject.of(backbone_name, weights, device, 1)
    files = jpeg_files(data, measuring.DISTINCT)
    load = Load(annotators, seconds, pause, method, clicks)
    with TemporaryDirectory(prefix="bench-") as folder, measuring.steps(_STEPS) as bar:
        settings = measured_settings(subject, Path(folder))
        if workers is not None:
            settings = settings.model_copy(update={"workers": workers})
        slots = plan_slots(settings, count_gpus(), count_cpus())
        found = measure_latency(subject, files, load, settings, slots, bar.step)
    measuring.tell(found, {}, as_json)

"""The `bench throughput` command: the whole backend beside its forward pass and other ways."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from backend.cli import measuring
from backend.evaluation.speed_pictures import jpeg_files
from backend.evaluation.subject import Subject, measured_settings
from backend.evaluation.throughput import Plan, measure_throughput
from backend.vision import saliency


def command(
    data: Path | None = measuring.PICTURES,
    tasks: int = measuring.TASKS,
    pictures: int = typer.Option(32, min=1, help="Pictures of a round for what runs in process."),
    rounds: int = measuring.ROUNDS,
    method: str = measuring.METHOD,
    gradient: bool = typer.Option(True, help="Whether to measure gradients with GrabCut as well."),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    threads: int = measuring.THREADS,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Images a second of the whole backend, beside the bare forward pass and other ways.

    eager: torch as it comes, float32; forward: ours; each at its best batch of 1, 8, 32.
    whole: one call of /predict with new tasks, through server, Redis, one worker that fetches
    each picture by HTTP, and back. naive: fetch, decode, grad-cam, OpenCV boxes, one by one.
    inprocess: decoded pictures to boxes; gradcam, torchcam: the same by these libraries and
    OpenCV, null where they are not installed. gradient: Simonyan's way with GrabCut; plain:
    written plainly, at the picture's own size (bounded: at ours). forward_error: of our cells
    against eager ones; same_boxes: share of pictures served as found in process.

    Example: python -m backend bench throughput --weights FILE --json
    """
    saliency.get(method)
    subject = Subject.of(backbone_name, weights, device, threads)
    files = jpeg_files(data, measuring.DISTINCT)
    plan = Plan(tasks, pictures, rounds, method, gradient)
    with TemporaryDirectory(prefix="bench-") as folder, measuring.steps(plan.steps) as bar:
        settings = measured_settings(subject, Path(folder))
        found = measure_throughput(subject, files, plan, settings, bar.step)
    measuring.tell(found, {}, as_json)

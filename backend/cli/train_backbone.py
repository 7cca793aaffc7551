"""The `train-backbone` command: how the backend's own backbone was made."""

from __future__ import annotations

import signal
from enum import Enum
from pathlib import Path
from types import FrameType

import torch
import typer

from backend.evaluation.distil.pools import held_out_pools, training_pools
from backend.evaluation.distil.student import load_teacher, placed
from backend.evaluation.distil.trainer import RunOptions, Trainer
from backend.evaluation.distil.views import ViewOptions
from backend.vision.backbones import find_device

MEASURED_NTH = 6
"""Of the measuring split, every sixth photo is looked at while the training runs."""


class Start(str, Enum):
    """Where a new run begins."""

    teacher = "teacher"
    random = "random"


class Precision(str, Enum):
    """Arithmetic of a forward pass."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def command(
    teacher: Path = typer.Option(..., help="MobileNetV2 weights."),
    photos: list[Path] = typer.Option(..., help="Archives of small photos with boxes."),
    measuring: Path = typer.Option(..., help="Archive whose split 1 is measured on."),
    sharp: Path | None = typer.Option(None, help="Zip of larger photos, <class index>_*.jpg."),
    folder: Path = typer.Option(Path("checkpoints/backbone"), help="Where the run is kept."),
    hours: float = typer.Option(6.0, min=0.001, help="Length of a new run at today's speed."),
    images: int | None = typer.Option(None, min=1, help="Length of a new run, if not in hours."),
    finish_within: float | None = typer.Option(
        None, min=0.1, help="Minutes in which to decay the learning rate and end."
    ),
    start: Start = typer.Option(Start.teacher, help="First weights of a new run."),
    peak: float = typer.Option(3e-4, help="Highest learning rate."),
    canvases: int = typer.Option(64, min=2, help="Views of 128 px in a batch."),
    seed: int = typer.Option(0, help="Seed of a new run."),
    device: str = typer.Option("auto", help="cpu, cuda or auto."),
    threads: int = typer.Option(2, min=1, help="Threads on a CPU."),
    teacher_precision: Precision = typer.Option(Precision.bfloat16, help="Of the teacher."),
    student_precision: Precision = typer.Option(Precision.float32, help="Of the student."),
) -> None:
    """Begin a run, or go on with the one in the folder. SIGTERM and Ctrl-C save first.

    Example: python -m backend train-backbone --teacher mobilenet_v2.safetensors
    --photos tiny_train.npz --measuring tiny_imagenet.npz --hours 6
    """
    torch.set_num_threads(threads)
    place = find_device(device)
    boxed, large = training_pools(photos, sharp, place)
    trainer = Trainer(
        RunOptions(
            folder=folder,
            total_images=images,
            hours=hours,
            finish_within_min=finish_within,
            start=start.value,
            peak=peak,
            seed=seed,
            views=ViewOptions(canvases=canvases),
        ),
        placed(load_teacher(teacher), place),
        boxed,
        large,
        held_out_pools(measuring, sharp, place, MEASURED_NTH),
        teacher_dtype=getattr(torch, teacher_precision.value),
        student_dtype=getattr(torch, student_precision.value),
    )
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    trainer.run(stop=lambda: bool(asked))
    print(f"{trainer.images} images in {trainer.elapsed_s / 3600:.2f} h, saved as {trainer.path}")

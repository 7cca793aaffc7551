"""The `export-backbone` command: a trained checkpoint becomes weights with a card."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import typer

from backend.evaluation.distil import checkpoint
from backend.evaluation.distil.export import export
from backend.evaluation.distil.measure import measure
from backend.evaluation.distil.pools import held_out_pools
from backend.evaluation.distil.student import (
    build_student,
    device_named,
    folded_copy,
    load_teacher,
    placed,
)


def command(
    checkpoint_file: Path = typer.Option(..., "--checkpoint", help="last.pt of a run."),
    teacher: Path = typer.Option(..., help="MobileNetV2 weights (safetensors)."),
    measuring: Path = typer.Option(..., help="Archive whose split 1 is measured on."),
    sharp: Path | None = typer.Option(None, help="Zip of larger photos."),
    out: Path = typer.Option(Path("backend/vision/weights/embedded.safetensors")),
    data_note: str = typer.Option("", help="Data and licence, as the card shall say it."),
    device: str = typer.Option("auto", help="cpu, cuda or auto."),
) -> None:
    """Measure the running average of a checkpoint, write it as weights with a card.

    Example: python -m backend export-backbone --checkpoint checkpoints/backbone/last.pt
    --teacher mobilenet_v2.safetensors --measuring tiny_imagenet.npz
    """
    place = device_named(device)
    state = checkpoint.load(checkpoint_file)
    student = build_student()
    student.load_state_dict(state.average)
    student = placed(student.eval(), place)
    reference = placed(folded_copy(load_teacher(teacher), torch.float32), place)
    pools = held_out_pools(measuring, sharp, place)
    measured = {name: measure(student, reference, pool).as_dict() for name, pool in pools.items()}
    size = export(state, out, {"measured": measured, "data": data_note})
    print(json.dumps({"out": str(out), "bytes": size, "measured": measured}, indent=2))

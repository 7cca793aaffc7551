"""The `export-backbone` command: a trained checkpoint becomes weights with a card."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import typer

from backend.evaluation.distil import card, checkpoint
from backend.evaluation.distil.export import write_weights
from backend.evaluation.distil.measure import measure
from backend.evaluation.distil.pools import held_out_pools
from backend.evaluation.distil.student import folded_copy, load_teacher, placed, student_with
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import find_device
from backend.vision.choice import EMBEDDED
from backend.vision.weight_files import load_weights


def command(
    checkpoint_file: Path = typer.Option(..., "--checkpoint", help="last.pt of a run."),
    teacher: Path = typer.Option(..., help="MobileNetV2 weights.", exists=True),
    measuring: Path = typer.Option(..., help="Archive whose split 1 is measured on.", exists=True),
    sharp: Path | None = typer.Option(None, help="Zip of larger photos.", exists=True),
    out: Path = typer.Option(
        Path("backend/vision/weights/embedded.safetensors"), help="The card goes beside it."
    ),
    data: str = typer.Option(card.DATA, help="Photos trained on, as the card shall say it."),
    licence: str = typer.Option(card.LICENCE, help="Their licence, as the card shall say it."),
    device: str = typer.Option("auto", help="cpu, cuda or auto."),
) -> None:
    """Write the running average of a checkpoint as weights, measure the file, write its card.

    Example: python -m backend export-backbone --checkpoint checkpoints/backbone/last.pt
    --teacher mobilenet_v2.safetensors --measuring tiny_imagenet.npz --sharp imagenet_samples.zip
    """
    place = find_device(device)
    state = checkpoint.load(checkpoint_file)
    content = write_weights(state.average, out)
    written = load_weights(ARCHITECTURES.get(EMBEDDED), out)
    student = placed(student_with(written.tensors), place)
    reference = placed(folded_copy(load_teacher(teacher), torch.float32), place)
    measured = {
        name: measure(student, reference, pool).as_dict()
        for name, pool in held_out_pools(measuring, sharp, place).items()
    }
    told = json.dumps(
        card.card_of(state, content, teacher, measured, data, licence),
        indent=2,
        ensure_ascii=False,
    )
    out.with_suffix(".json").write_text(f"{told}\n", encoding="utf-8")
    print(told)

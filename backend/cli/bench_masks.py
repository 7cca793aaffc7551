"""The `bench masks` command: how well masks of things in boxes fit."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.evaluation.bed import bed_of, measuring_learner
from backend.evaluation.curves import check_counts, shuffled_split
from backend.evaluation.machine import describe_machine
from backend.evaluation.masks import measure_masks
from backend.evaluation.voc import read_image_set
from backend.vision.backbones import load_backbone


def command(
    data: Path = measuring.DATA,
    format_name: str = measuring.FORMAT,
    accepted: str = typer.Option("0,10,50", help="Numbers of accepted pictures."),
    seeds: int = measuring.SEEDS,
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    cache: Path | None = measuring.CACHE,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """How well our masks fit after n accepted shapes: mean IoU with a pseudo truth.

    The pseudo truth is GrabCut inside the true box (OpenCV's rectangle mode, 320 pixels a
    side). true_boxes_N: masks in the true boxes of held-out pictures; predicted_boxes_N: in
    predicted ones. Draws are those of `bench accuracy`.

    Example: python -m backend bench masks --data raccoon --json
    """
    numbers = measuring.whole_numbers(accepted)
    images = read_image_set(data, format_name)
    check_counts(numbers, len(images.pictures))
    backbone = load_backbone(backbone_name, weights, device)
    with measuring_learner(cache) as learner, measuring.steps(1 + len(numbers) * seeds) as bar:
        bed = bed_of(images, backbone, learner, bar.forward)
        splits = [shuffled_split(bed.ids, seed) for seed in range(seeds)]
        figures = measure_masks(bed, splits, numbers, bar.step)
    measuring.tell(figures, describe_machine(backbone.device), as_json)

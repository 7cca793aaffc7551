"""The `bench accuracy` command: learning curves on labelled pictures."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.evaluation.accuracy import Curves, compare
from backend.evaluation.bed import bed_of, measuring_learner
from backend.evaluation.curves import check_counts, shuffled_split
from backend.evaluation.machine import describe_machine
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
    plot: Path | None = measuring.PLOT,
) -> None:
    """How good proposals are after n accepted pictures, beside the simplest ways.

    Seed s shuffles the pictures, sorted by file name, with random.Random(s). The first half
    is held out, the accepted n are the first n of the other half. Label and box must match,
    one to one, best score first.

    Example: python -m backend bench accuracy --data raccoon --accepted 0,10,50
    """
    numbers, plot = measuring.whole_numbers(accepted), measuring.svg_path(plot)
    images = read_image_set(data, format_name)
    check_counts(numbers, len(images.pictures))
    backbone = load_backbone(backbone_name, weights, device)
    points = (2 * len(numbers) - (0 in numbers) + 1) * seeds
    with measuring_learner(cache) as learner, measuring.steps(points) as bar:
        bed = bed_of(images, backbone, learner, bar.forward)
        splits = [shuffled_split(bed.ids, seed) for seed in range(seeds)]
        curves = Curves(
            bed.name,
            len(bed.ids),
            backbone_name,
            tuple(range(seeds)),
            compare(bed, splits, numbers, bar.step),
        )
    measuring.show(curves, describe_machine(backbone.device), as_json, plot)

"""The `bench train` command: time and memory of fitting a head."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.errors import ConfigError
from backend.evaluation.bed import bed_of, measuring_learner
from backend.evaluation.fitting import measure_fits
from backend.evaluation.machine import describe_machine
from backend.evaluation.voc import read_image_set
from backend.vision.backbones import load_backbone


def command(
    data: Path = measuring.DATA,
    format_name: str = measuring.FORMAT,
    pictures: str = typer.Option("50,200,1000", help="Numbers of accepted pictures."),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    cache: Path | None = measuring.CACHE,
    as_json: bool = measuring.AS_JSON,
    plot: Path | None = measuring.PLOT,
) -> None:
    """How long a fit takes on n accepted pictures, features being kept, and how much memory.

    The first n pictures by file name are accepted; beyond the set they come again. forward_s:
    the bare forward pass over as many pictures, which a fit does without.

    Example: python -m backend bench train --data raccoon --pictures 50,200,1000
    """
    numbers, plot = measuring.whole_numbers(pictures), measuring.svg_path(plot)
    if numbers[0] < 1:
        raise ConfigError("A fit needs a picture.", "Ask for 1 or more.")
    images = read_image_set(data, format_name)
    backbone = load_backbone(backbone_name, weights, device)
    with measuring_learner(cache) as learner, measuring.steps(len(numbers) + 1) as bar:
        fits = measure_fits(bed_of(images, backbone, learner, bar.forward), numbers, bar.step)
    measuring.show(fits, describe_machine(backbone.device), as_json, plot)

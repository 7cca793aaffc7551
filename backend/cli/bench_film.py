"""The `bench film` command: what a long video takes."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.evaluation.long_film import measure_long_film
from backend.evaluation.machine import describe_machine
from backend.vision.backbones import find_device


def command(
    minutes: float = typer.Option(10.0, min=0.1, max=240, help="Length of the film."),
    height: int = typer.Option(1080, min=90, max=4320, help="Of its frames; they are 16:9."),
    way: str = typer.Option("frame_cam", "--way", help="How frames are looked at."),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Memory and time that one worker takes for a long drawn film, which is written first.

    growth_mb: the most memory while the film is looked at, beyond what the idle worker had;
    beyond_short_mb: beyond what it had after a film of eight seconds. fps: frames a second,
    decoding and storing included.

    Example: python -m backend bench film --backbone embedded --json
    """
    with measuring.steps(3) as bar:
        figures = measure_long_film(
            backbone=backbone_name,
            weights=weights,
            device=device,
            way=way,
            minutes=minutes,
            size_hw=(height, height * 16 // 9 // 2 * 2),
            say=bar.step,
        )
    measuring.tell(figures, describe_machine(find_device(device)), as_json)

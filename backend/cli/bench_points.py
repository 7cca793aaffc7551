"""The `bench points` command: how well key points are told after a few accepted pictures."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.evaluation.bed import measuring_learner
from backend.evaluation.machine import describe_machine
from backend.evaluation.pointing import drawn_people, measure_pointing, points_of_boxes
from backend.vision.backbones import load_backbone


def command(
    data: Path | None = typer.Option(
        None, "--data", exists=True, file_okay=False, help="VOC folder; else drawn people."
    ),
    corners: bool = typer.Option(
        False, "--corners", help="The corners of single boxes beside their centres."
    ),
    accepted: str = typer.Option("3,10,50", "--accepted", help="Numbers of accepted pictures."),
    judged: int = typer.Option(50, "--judged", min=1, help="Further pictures to judge on."),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    cache: Path | None = measuring.CACHE,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """How near key points are told after n accepted pictures.

    pck: share of true points with a told one of their label within 5 % of the picture's longer
    side; parts_alone: without the relations between parts; mean: of the mean accepted place.
    right: share of the told points that are near. ece: of their scores. Drawn people have
    thirteen parts. Of a VOC folder the centres of boxes are the points, as nobody clicked any.

    Example: python -m backend bench points --backbone embedded --json
    """
    counts = measuring.whole_numbers(accepted)
    wanted = max(counts, default=0) + judged
    if data is None:
        name, pointed = "drawn people", drawn_people(wanted)
    else:
        name, pointed = data.name, points_of_boxes(data, wanted, corners=corners)
    backbone = load_backbone(backbone_name, weights, device)
    with measuring_learner(cache) as learner, measuring.steps(len(counts) + 1) as bar:
        figures = measure_pointing(
            name, pointed, backbone, learner, accepted=counts, judged=judged, say=bar.step
        )
    measuring.tell(figures, describe_machine(backbone.device), as_json)

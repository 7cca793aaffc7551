"""The `evaluate` command: the learning curve of a project's own accepted pictures."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.cli.preannotate import find_redis
from backend.errors import ConfigError
from backend.evaluation.accuracy import Curves, compare
from backend.evaluation.curves import check_counts, split_by_time
from backend.evaluation.machine import describe_machine
from backend.evaluation.project import read_project
from backend.evaluation.project_pictures import bed_of_project, fetched_pictures
from backend.jobs.learner import own_learner
from backend.settings import load_settings
from backend.store.connection import connect
from backend.vision.backbones import load_backbone
from backend.vision.kept_choices import KeptChoices

_USUAL = (0, 3, 10, 20, 50, 100, 200, 500, 1000)


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    accepted: str = typer.Option("", help="Numbers of accepted pictures; empty: what there is."),
    as_json: bool = measuring.AS_JSON,
    plot: Path | None = measuring.PLOT,
) -> None:
    """How good proposals become on a project's own pictures, beside the simplest ways.

    The half that was accepted last is held out; of the other, the first n count as accepted.

    Example: python -m backend evaluate --project 1
    """
    asked, plot = measuring.whole_numbers(accepted or "0"), measuring.svg_path(plot)
    settings = load_settings()
    connection = connect(find_redis(settings))
    found = read_project(connection, project)
    wanted = [(one.address, one.task_id) for one in found.lessons if one.drawn_on]
    _check(project, len(wanted), sum(len(one.boxes) for one in found.lessons))
    backbone = load_backbone(
        settings.backbone,
        settings.backbone_weights,
        settings.device,
        settings.runtime,
        KeptChoices.under(settings.data_dir),
    )
    with (
        measuring.steps(len(dict(wanted))) as bar,
        fetched_pictures(settings, project, wanted, bar.fetched) as pictures,
    ):
        bed = bed_of_project(found, pictures, backbone, own_learner(settings), bar.forward)
        boxes = sum(len(example.boxes) for example in bed.examples.values())
        _check(project, len(bed.ids), boxes)
        split = split_by_time(bed.ids)
        numbers = asked if accepted else usual_numbers(len(split.pool))
        check_counts(numbers, len(bed.ids))
        bar.expect(len(dict(wanted)) + 2 * len(numbers) - (0 in numbers) + 1)
        curves = Curves(
            bed.name,
            len(bed.ids),
            backbone.identity.name,
            (),
            compare(bed, [split], numbers, bar.step),
        )
    measuring.show(curves, describe_machine(backbone.device), as_json, plot)


def usual_numbers(pool: int) -> tuple[int, ...]:
    """How many accepted pictures to measure with; all there are come last."""
    return (*(number for number in _USUAL if number < pool), pool)


def _check(project: int, pictures: int, boxes: int) -> None:
    if pictures < 2 or not boxes:
        raise ConfigError(
            f"Project {project} has {pictures} accepted pictures that can be read, with {boxes} "
            "boxes of the labels in its configuration.",
            "Accept boxes on at least two; `sync` reads what Label Studio has.",
        )

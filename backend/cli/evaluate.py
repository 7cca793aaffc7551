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

USUAL = (0, 3, 10, 20, 50, 100, 200, 500, 1000)


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
    backbone = load_backbone(settings.backbone, settings.backbone_weights, settings.device)
    wanted = [(one.address, one.task_id) for one in found.lessons if one.drawn_on]
    with fetched_pictures(settings, project, wanted) as pictures, measuring.steps(0) as bar:
        bed = bed_of_project(found, pictures, backbone, own_learner(settings), bar.forward)
        if len(bed.ids) < 2:
            raise ConfigError(
                f"Project {project} has {len(bed.ids)} accepted pictures that can be read.",
                "Accept at least two; `sync` reads what Label Studio has.",
            )
        split = split_by_time(bed.ids)
        numbers = asked if accepted else tuple(n for n in USUAL if n <= len(split.pool))
        check_counts(numbers, len(bed.ids))
        bar.expect(2 * len(numbers) - (0 in numbers) + 1)
        curves = Curves(
            bed.name,
            len(bed.ids),
            settings.backbone,
            (),
            compare(bed, [split], numbers, bar.step),
        )
    measuring.show(curves, describe_machine(backbone.device), as_json, plot)

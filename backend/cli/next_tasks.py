"""The `next` command: the tasks to be done next, by a strategy."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
import typer

from backend.cli.measuring import AS_JSON, steps
from backend.cli.preannotate import find_redis
from backend.domain import FloatArray
from backend.errors import LabelStudioAuth
from backend.evaluation.choosing import OpenTask, open_tasks, situation_of
from backend.evaluation.project import Project, read_project
from backend.evaluation.project_pictures import fetched_pictures
from backend.evaluation.shelf import Shelf
from backend.jobs.learner import own_learner
from backend.jobs.lessons import drawn_examples
from backend.labelstudio.client import LabelStudioClient
from backend.learning.next_tasks import STRATEGIES, Situation, choose_next
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.vision.backbones import load_backbone
from backend.vision.kept_choices import KeptChoices


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    strategy: str = typer.Option("mixed", help=f"One of {', '.join(STRATEGIES.names())}."),
    count: int = typer.Option(20, min=1, help="Most tasks listed."),
    seed: int = typer.Option(0, help="Of the strategy random."),
    as_json: bool = AS_JSON,
) -> None:
    """List the open tasks that are worth most when done next, the first one first.

    Example: python -m backend next --project 1 --strategy mixed --count 20
    """
    needs_pooled = STRATEGIES.get(strategy).needs_pooled
    settings = load_settings()
    if not settings.can_push:
        raise LabelStudioAuth(
            "LABEL_STUDIO_API_KEY is not set: the project's tasks cannot be listed.",
            "Set it to a personal access token of Label Studio.",
        )
    connection = connect(find_redis(settings))
    found = read_project(connection, project)
    with LabelStudioClient(
        settings.label_studio_url, settings.label_studio_api_key, settings.label_studio_timeout_s
    ) as client:
        known = open_tasks(settings, connection, client, found)
    tasks, situation = known.tasks, situation_of(found, known.tasks)
    if needs_pooled and tasks:
        tasks, situation = _described(settings, found, tasks)
    chosen = choose_next(strategy, situation, count, np.random.default_rng(seed))
    if known.unpredicted:
        print(
            f"{known.unpredicted} open tasks have no prediction of {known.version} yet and are "
            f"left out: python -m backend preannotate --project {project}",
            file=sys.stderr,
        )
    listed = [tasks[at] for at in chosen]
    if as_json:
        rows = [{"task": one.task_id, "score": one.score, "labels": one.labels} for one in listed]
        print(json.dumps({"strategy": strategy, "version": known.version, "tasks": rows}))
        return
    if not known.tasks and not known.unpredicted:
        print("No task is open: all are annotated or skipped.", file=sys.stderr)
    for one in listed:
        address = f"{settings.label_studio_url}/projects/{project}/data?task={one.task_id}"
        print(f"{one.task_id:>10}  {one.score:.3f}  {address}  {', '.join(one.labels)}")


def _described(
    settings: Settings, project: Project, tasks: Sequence[OpenTask]
) -> tuple[tuple[OpenTask, ...], Situation]:
    """The tasks whose picture can be had, and the view of them with feature vectors."""
    accepted = [(lesson.address, lesson.task_id) for lesson in project.lessons]
    wanted = [*accepted, *((task.address, task.task_id) for task in tasks)]
    backbone = load_backbone(
        settings.backbone,
        settings.backbone_weights,
        settings.device,
        settings.runtime,
        KeptChoices.under(settings.data_dir),
    )
    with (
        steps(len(dict(wanted))) as bar,
        fetched_pictures(settings, project.id, wanted, bar.fetched) as pictures,
    ):
        learner = own_learner(settings)
        shelf = Shelf(backbone, learner, pictures.read, lambda name: name, bar.forward)
        # The kind of features that training and prediction keep of this project as well.
        small = learner.wants_small(drawn_examples(project.lessons))
        pooled = shelf.pooled(list(dict.fromkeys(pictures.hash_of.values())), small=small)
    kept = tuple(task for task in tasks if task.address in pictures.hash_of)

    def vectors(addresses: Sequence[str]) -> FloatArray:
        rows = [pooled[pictures.hash_of[one]] for one in addresses if one in pictures.hash_of]
        # Without a row the width is still that of the others.
        width = len(next(iter(pooled.values()), ()))
        return np.array(rows, np.float32) if rows else np.zeros((0, width), np.float32)

    return kept, situation_of(
        project,
        kept,
        vectors([task.address for task in kept]),
        vectors([address for address, _ in accepted]),
    )

"""The `train` command: a training now, and what came of it."""

from __future__ import annotations

import json
import time

import typer
from rich.console import Console

from backend.cli.preannotate import find_redis
from backend.errors import JobError, StoreUnavailable
from backend.jobs.training import request_training
from backend.jobs.views import JobView, job_view
from backend.settings import load_settings
from backend.store.connection import connect
from backend.store.fleet import Fleet

_LOOK_S = 0.5


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    as_json: bool = typer.Option(False, "--json", help="Print the outcome as JSON."),
) -> None:
    """Train a project's head from what was accepted, and wait for the outcome.

    A new head is used only where it is not worse than the one in use.

    Example: python -m backend train --project 1
    """
    settings = load_settings()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with connect(find_redis(settings)) as connection:
        if not Fleet(connection).alive(settings.worker_lost_s, "train"):
            raise StoreUnavailable(
                "No worker that trains is alive.",
                "Start the backend with TRAIN_WORKERS of at least 1.",
            )
        job_id = request_training(connection, settings, str(project), time.time(), asked=True)
        console.print(f"Job {job_id} trains project {project}.")
        with console.status("waiting") as status:
            view = job_view(connection, job_id)
            while view.state in ("queued", "running"):
                done, total = view.progress.get("done", 0), view.progress.get("total", 1)
                status.update(f"{view.state}, {done} of {total} steps")
                time.sleep(_LOOK_S)
                view = job_view(connection, job_id)
    if view.outcome is None:
        raise JobError(f"The training ended as {view.state}: {view.reason}", "")
    print(json.dumps(view.outcome) if as_json else _told(view))


def _told(view: JobView) -> str:
    outcome = dict(view.outcome or {})
    if outcome.get("published"):
        first = f"Published {outcome['version']}."
    else:
        first = "Nothing was published."
    lines = [first, str(outcome.get("why", ""))]
    if unsynced := outcome.get("unsynced"):
        lines.append(f"Learned from webhooks alone; Label Studio could not be asked: {unsynced}")
    lines += [f"  {name}: {value:.3f}" for name, value in outcome.get("metrics", {}).items()]
    return "\n".join(lines)

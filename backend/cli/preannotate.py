"""The `preannotate` command: a whole project through the queue."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.errors import LabelStudioAuth, StoreUnavailable
from backend.jobs.bulk import Bulk, BulkReport
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.embedded import running_url

DONE, SOME_FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
_SHOWN = 50


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    only_new: bool = typer.Option(
        False,
        "--only-new/--all",
        help="Only tasks without any prediction, or all that lack the current version.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Pre-annotate every task of a project; run again, it goes on where it stopped.

    Exit status: 0 all done, 1 some tasks failed, 2 could not run.

    Example: python -m backend preannotate --project 1
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        report = _run(load_settings(), project, only_new, errors)
    except redis.RedisError as error:
        errors.print(f"Redis failed: {error}. Run this again to go on.", markup=False)
        raise typer.Exit(COULD_NOT_RUN) from None
    except KeyboardInterrupt:
        errors.print(
            f"Interrupted. What is stored stays; go on with: "
            f"python -m backend preannotate --project {project}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    print(json.dumps(dataclasses.asdict(report)) if as_json else summary(report))
    raise typer.Exit(SOME_FAILED if report.failures else DONE)


def summary(report: BulkReport) -> str:
    """What was done and what failed, for people."""
    if report.tasks == 0:
        return (
            f"Project {report.project_id}: nothing to do, no task lacks a prediction of "
            f"version {report.version}."
        )
    lines = [
        f"Project {report.project_id}, version {report.version}: "
        f"{report.stored} of {report.tasks} tasks stored, {len(report.failures)} failed."
    ]
    for code, count in Counter(failure.code for failure in report.failures).most_common():
        lines.append(f"  {code}: {count}")
    for failure in report.failures[:_SHOWN]:
        lines.append(f"  task {failure.task_id}: {failure.code}: {failure.reason}")
    if len(report.failures) > _SHOWN:
        lines.append(f"  … {len(report.failures) - _SHOWN} more; --json lists all.")
    return "\n".join(lines)


def find_redis(settings: Settings) -> str:
    """Address of the Redis to use: REDIS_URL, else that of a backend under DATA_DIR.

    Raises: StoreUnavailable when there is neither.
    """
    url = settings.redis_url or running_url(settings.data_dir)
    if not url:
        raise StoreUnavailable(
            f"REDIS_URL is empty, and no backend runs under {settings.data_dir}.",
            "Start it with `python -m backend up` and run this beside it, or set REDIS_URL.",
        )
    return url


def _run(settings: Settings, project: int, only_new: bool, errors: Console) -> BulkReport:
    if not settings.can_push:
        raise LabelStudioAuth(
            "LABEL_STUDIO_API_KEY is not set: tasks can neither be read nor predictions stored.",
            "Set it to a personal access token of Label Studio.",
        )
    connection = connect(find_redis(settings))
    client = LabelStudioClient(
        settings.label_studio_url, settings.label_studio_api_key, settings.label_studio_timeout_s
    )
    with client, _bar(errors) as on_progress:
        return Bulk(
            settings,
            connection,
            client,
            project,
            unpredicted_only=only_new,
            on_progress=on_progress,
        ).run()


@contextmanager
def _bar(errors: Console) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("predicting", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)

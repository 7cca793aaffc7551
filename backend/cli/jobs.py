"""The `jobs` command: what failed and why, and trying it again."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from enum import Enum

import redis
import typer

from backend.cli.preannotate import find_redis
from backend.errors import JobNotFound, RequestError
from backend.jobs.failed import FailedJob, failed_jobs, retry_failed
from backend.settings import load_settings
from backend.store.connection import connect

_MOST_RETRIED = 100_000
_TASKS_NAMED = 5


class Action(str, Enum):
    """What to do with the failed jobs."""

    list = "list"
    retry = "retry"


def command(
    action: Action = typer.Argument(..., help="list or retry."),
    job_id: str | None = typer.Argument(None, metavar="[ID]", help="Which job retry is about."),
    every: bool = typer.Option(False, "--all", help="Retry all of them."),
    most: int = typer.Option(100, min=1, help="Most jobs listed."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List what failed in the last three days with its reason, and have it done again.

    Tasks that failed are predicted anew; with an API key the predictions are pushed. A
    training that was refused, because there was nothing to learn or its head was no better,
    is listed too. Ends with 2 where there is no such failed job.

    Example: python -m backend jobs list

    Example: python -m backend jobs retry --all
    """
    if action is Action.retry and (job_id is None) is not every:
        raise RequestError(
            "retry needs the id of one job, or --all.", "See `python -m backend jobs list`."
        )
    if action is Action.list and (job_id is not None or every):
        raise RequestError("list takes neither an id nor --all.", "Leave it out.")
    with connect(find_redis(load_settings())) as connection:
        if action is Action.list:
            _list(failed_jobs(connection, most), as_json)
            return
        retried = _retry(connection, job_id)
    if as_json:
        print(json.dumps({"retried": retried}))
        return
    for one in retried:
        print(f"Job {one} is tried again.")
    if not retried:
        print("Nothing has failed.")


def _retry(connection: redis.Redis, job_id: str | None) -> list[str]:
    """Ids of the jobs that are tried again. Raises: JobNotFound."""
    if job_id is None:
        wanted = [one.id for one in failed_jobs(connection, _MOST_RETRIED)]
        return [one for one in wanted if retry_failed(connection, one)]
    if not retry_failed(connection, job_id):
        raise JobNotFound(
            f"No job {job_id!r} has failed.",
            "See `python -m backend jobs list` for those that did.",
        )
    return [job_id]


def _list(jobs: list[FailedJob], as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in jobs]))
        return
    for one in jobs:
        at = datetime.fromtimestamp(one.failed_at_s, timezone.utc).isoformat(" ", "minutes")
        what = "train, refused" if one.refused else one.kind or "unknown"
        print(f"{one.id}  {at}  {what}  {_about(one)}".rstrip())
        print(f"{'':8}{one.reason}")
    if not jobs:
        print("Nothing has failed.")


def _about(job: FailedJob) -> str:
    parts = [f"project {job.project_id}"] if job.project_id else []
    if job.tasks:
        named = ", ".join(str(number) for number in job.task_ids[:_TASKS_NAMED])
        more = ", …" if len(job.task_ids) > _TASKS_NAMED else ""
        parts.append(f"{job.tasks} tasks" + (f" ({named}{more})" if named else ""))
    return ", ".join(parts)

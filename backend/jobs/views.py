"""What became of a job, in words, with the way to stop one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import redis
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from backend.errors import JobCancelled, JobNotFound
from backend.jobs.queues import SafeJob
from backend.store import keys
from backend.store.predictions import PredictionCache

JobState = Literal["queued", "running", "done", "failed", "cancelled"]

_STATES: Mapping[str, JobState] = {
    "created": "queued",
    "queued": "queued",
    "scheduled": "queued",
    "deferred": "queued",
    "started": "running",
    "finished": "done",
    "failed": "failed",
    "stopped": "cancelled",
    "canceled": "cancelled",
}
_FLAG_TTL_S = 24 * 3600
_CANCELLED_TTL_S = 3600


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as shown outside.

    progress: tasks ``done`` of ``total``. outcome: what the job returned, None until it is
    done: number ``predicted``, numbers ``failed`` by code. reason: why it failed, else "".
    """

    id: str
    state: JobState
    progress: Mapping[str, int] = field(default_factory=dict)
    outcome: Mapping[str, Any] | None = None
    reason: str = ""


def job_view(connection: redis.Redis, job_id: str) -> JobView:
    """The job as it stands. Raises: JobNotFound."""
    return view_of(_fetch(connection, job_id))


def cancel_job(connection: redis.Redis, cache: PredictionCache, job_id: str) -> JobView:
    """Remove a waiting job from its queue, or have a running one stop after its batch.

    Its claims are given up, so that the next call predicts the tasks anew. A job that has
    ended stays as it is. Raises: JobNotFound.
    """
    job = _fetch(connection, job_id)
    state = view_of(job).state
    if state in ("queued", "running"):
        # The flag first: a worker may take the job between these lines, and looks for it.
        connection.set(keys.cancel_flag(job_id), b"1", ex=_FLAG_TTL_S)
    if state == "queued" and job.get_status() == "queued":
        job.cancel()
        cache.release(_task_keys(job), job_id)
        # RQ reports no result for a cancelled job; who waits for one would wait in vain.
        Result.create(job, Result.Type.STOPPED, ttl=_CANCELLED_TTL_S)
    return job_view(connection, job_id)


def cancel_wanted(connection: redis.Redis, job_id: str) -> bool:
    """Whether somebody asked this job to stop."""
    return bool(connection.exists(keys.cancel_flag(job_id)))


def _fetch(connection: redis.Redis, job_id: str) -> Job:
    try:
        return SafeJob.fetch(job_id, connection=connection, serializer=JSONSerializer)
    except NoSuchJobError:
        raise JobNotFound(
            f"There is no job {job_id!r}.", "Finished jobs are forgotten after some minutes."
        ) from None


def view_of(job: Job) -> JobView:
    """A fetched job as it stands."""
    state = _STATES.get(str(job.get_status(refresh=False).value), "queued")
    result = job.latest_result() if state in ("done", "failed") else None
    reason = _last_line(result.exc_string) if result is not None else ""
    if state == "failed" and reason.startswith(f"{JobCancelled.__module__}.JobCancelled"):
        state = "cancelled"
    progress = {key: int(job.meta[key]) for key in ("done", "total") if key in job.meta}
    outcome = result.return_value if result is not None and state == "done" else None
    return JobView(job.id, state, progress, outcome, reason.partition(": ")[2] or reason)


def _last_line(traceback_text: str | None) -> str:
    lines = (traceback_text or "").strip().splitlines()
    # An error's text may have several lines; its first one names the class.
    starts = [line for line in lines if line and not line[0].isspace()]
    return starts[-1] if starts else ""


def _task_keys(job: Job) -> list[str]:
    payload = job.args[0] if job.args else {}
    return [task["key"] for task in payload.get("tasks", [])]

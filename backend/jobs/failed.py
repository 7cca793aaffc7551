"""Jobs that failed, told to people, and tried again when they say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import redis
from rq.exceptions import DeserializationError, InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.errors import JobError
from backend.jobs.parking import AGAIN, REFUSED, RETRY_QUEUE
from backend.jobs.payload import Carrier
from backend.jobs.queues import ALL_QUEUES, FAILURE_TTL_S, SafeJob, queue
from backend.jobs.training import ask_for_training
from backend.jobs.views import view_of
from backend.store import keys
from backend.store.predictions import are_finished

FailedKind = Literal["predict", "interactive", "explain", "push", "refresh", "sync", "train", ""]

_KINDS: dict[str, FailedKind] = {
    "backend.jobs.carrier.run": "predict",
    "backend.jobs.explain.run": "explain",
    "backend.jobs.interactive.run": "interactive",
    "backend.jobs.push.run": "push",
    "backend.jobs.refresh.run": "refresh",
    "backend.jobs.sync.run": "sync",
    "backend.jobs.train.run": "train",
    "backend.jobs.video.run": "predict",
}
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed, or what of it failed.

    queue: where it goes when it is tried again. kind: what it was to do, "" for a job that is
    none of ours. project_id: "" where unknown. tasks: how many are still without a prediction,
    or with one that Label Studio did not take, 0 where it is not about tasks; task_ids: Label
    Studio's numbers of these, where known. reason: for people. failed_at_s: seconds since the
    epoch. refused: a training that ended well and published nothing, because it had nothing to
    learn from or was not better.
    """

    id: str
    queue: str
    kind: FailedKind
    project_id: str
    tasks: int
    reason: str
    failed_at_s: float
    task_ids: tuple[int, ...] = ()
    refused: bool = False


def failed_jobs(connection: redis.Redis, most: int = 100) -> list[FailedJob]:
    """At most so many, newest first, each task once.

    Left out are jobs that somebody cancelled, and tasks that have been predicted since.
    """
    return list(islice(_failed(connection), most))


def retry_failed(connection: redis.Redis, job_id: str) -> bool:
    """Have a failed job done again; False where no such job has failed.

    Tasks are predicted anew, whatever the cache tells, and pushed where there is an API key.
    A training is asked for anew: at most one of a project runs at a time.
    """
    try:
        job = SafeJob.fetch(job_id, connection=connection, serializer=JSONSerializer)
    except NoSuchJobError:
        return False
    kind = _kind(job)
    registry = queue(connection, str(job.origin)).failed_job_registry
    if kind == "train":
        if not registry.remove(job, delete_job=True):
            return False
        ask_for_training(connection, _project(job))
        return True
    if kind == "predict":
        job.origin = RETRY_QUEUE
        job.meta[AGAIN] = True
    # Where it was used up: a worker that is stopped meanwhile must not end it.
    job.retries_left = max(job.retries_left or 0, 1)
    try:
        registry.requeue(job)
    except InvalidJobOperation:
        return False  # somebody else was faster, or it has not failed
    return True


def _failed(connection: redis.Redis) -> Iterator[FailedJob]:
    seen: set[str] = set()
    for chunk in _chunks(_placed(connection)):
        jobs = SafeJob.fetch_many(
            [job_id for _, job_id in chunk], connection=connection, serializer=JSONSerializer
        )
        found = [(at_s, job) for (at_s, _), job in zip(chunk, jobs, strict=True) if job is not None]
        carriers = [_carrier(job) for _, job in found]
        open_keys = _without_prediction(connection, carriers) - seen
        for (at_s, job), carrier in zip(found, carriers, strict=True):
            left = [task for task in carrier.tasks if task.key in open_keys] if carrier else []
            view = view_of(job)
            if view.state != "failed" or (carrier is not None and not left):
                continue
            open_keys.difference_update(task.key for task in left)
            seen.update(task.key for task in left)
            unpushed = _unpushed(job)
            yield FailedJob(
                job.id,
                str(job.origin),
                _kind(job),
                _project(job),
                len(left) or len(unpushed),
                view.reason,
                at_s,
                tuple(task.id for task in left if task.id is not None) or unpushed,
                REFUSED in job.meta,
            )


def _placed(connection: redis.Redis) -> list[tuple[float, str]]:
    """When each failed, in whole seconds, and its id; newest first."""
    placed = []
    for name in ALL_QUEUES:
        entries: Any = connection.zrevrange(
            queue(connection, name).failed_job_registry.key, 0, -1, withscores=True
        )
        # They are listed by the time at which they will be forgotten.
        placed += [(expires_s - FAILURE_TTL_S, job_id.decode()) for job_id, expires_s in entries]
    return sorted(placed, reverse=True)


def _chunks(items: Iterable[tuple[float, str]]) -> Iterator[list[tuple[float, str]]]:
    rest = iter(items)
    while chunk := list(islice(rest, _AT_ONCE)):
        yield chunk


def _without_prediction(connection: redis.Redis, carriers: Sequence[Carrier | None]) -> set[str]:
    wanted = list({task.key for carrier in carriers if carrier for task in carrier.tasks})
    known = are_finished(connection, wanted)
    return {key for key, finished in zip(wanted, known, strict=True) if not finished}


def _carrier(job: Job) -> Carrier | None:
    """What a job was to predict; None where it predicts nothing or cannot be read."""
    if _kind(job) != "predict":
        return None
    try:
        return Carrier.from_json(job.args[0])
    except JobError:
        return None


def _unpushed(job: Job) -> tuple[int, ...]:
    """The tasks of predictions that Label Studio did not take."""
    if _kind(job) != "push":
        return ()
    return tuple(task_id for task_id, _, _ in job.args[0].get(AGAIN, ()))


def _kind(job: Job) -> FailedKind:
    try:
        return _KINDS.get(str(job.func_name), "")
    except DeserializationError:
        return ""


def _project(job: Job) -> str:
    return keys.project_id_of(job.args[0].get("project_id", "")) if _kind(job) else ""

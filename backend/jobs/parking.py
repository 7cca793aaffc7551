"""What could not be done is parked, with its reason, for people to see and to try again.

A carrier whose tasks fail, and a training that publishes nothing, end well as jobs: nobody
would look for them among RQ's failed ones. So a failed job of their own is left there, which
holds no more than is needed to do the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis
from rq.job import JobStatus, Retry
from rq.serializers import JSONSerializer

from backend.domain import Failed
from backend.jobs.payload import Carrier
from backend.jobs.push_requests import PUSH_SCHEMA, job_limit_s
from backend.jobs.queues import FAILURE_TTL_S, RESULT_TTL_S, SafeJob, queue
from backend.settings import Settings

REFUSED = "refused"
"""In a job's meta: it stands for a training that ended well and published nothing."""

AGAIN = "again"
"""In a carrier's meta: it is tried again by hand, and fails as a job where its tasks fail. In
a push's payload: what Label Studio did not take."""

RETRY_QUEUE = "bulk"
"""Where tasks are tried again: nobody waits for them, and no rider shares the batch."""

_CARRIER_JOB = "backend.jobs.carrier.run"
_PUSH_JOB = "backend.jobs.push.run"
_TRAIN_JOB = "backend.jobs.train.run"
_MOST_CODES = 3


def reason_of(failures: Mapping[str, Failed], total: int) -> str:
    """What failed in words: the first reason of each code, the commonest code first."""
    by_code: dict[str, list[str]] = {}
    for one in failures.values():
        by_code.setdefault(one.code, []).append(one.reason)
    commonest = sorted(by_code.items(), key=lambda item: -len(item[1]))
    told = [f"{code} ({len(reasons)}): {reasons[0]}" for code, reasons in commonest[:_MOST_CODES]]
    return " ".join(f"{len(failures)} of {total} tasks failed. {' '.join(told)}".split())


def park_tasks(
    connection: redis.Redis, settings: Settings, carrier: Carrier, failures: Mapping[str, Failed]
) -> None:
    """Leave a failed job of a carrier's failed tasks, in the place of an earlier one of the same.

    failures: by task key; nothing happens without any.
    """
    if not failures:
        return
    left = tuple(task for task in carrier.tasks if task.key in failures)
    fewer = Carrier(
        carrier.project_id,
        carrier.version,
        carrier.backbone_digest,
        carrier.config_fingerprint,
        left,
        carrier.head_number,
    )
    _park(
        connection,
        settings,
        job_id=_id_of("failed", failures),
        queue_name=RETRY_QUEUE,
        func_name=_CARRIER_JOB,
        payload=fewer.to_json(),
        timeout_s=settings.job_timeout_s,
        meta={"done": 0, "total": len(left), "project": carrier.project_id},
        description=f"{len(left)} failed tasks of project {carrier.project_id}",
        reason=reason_of(failures, len(carrier.tasks)),
    )


def park_push(
    connection: redis.Redis,
    settings: Settings,
    project_id: str,
    again: Sequence[tuple[int, str, str]],
    reason: str,
) -> None:
    """Leave a failed job of predictions that Label Studio did not take.

    again: task, version and cache key of each; nothing happens without any.
    """
    if not again:
        return
    _park(
        connection,
        settings,
        job_id=_id_of("unpushed", [f"{task_id}:{version}" for task_id, version, _ in again]),
        queue_name="push",
        func_name=_PUSH_JOB,
        payload={"schema": PUSH_SCHEMA, "project_id": project_id, AGAIN: list(again)},
        timeout_s=job_limit_s(settings),
        meta={"project": project_id},
        description=f"{len(again)} predictions of project {project_id} that were not taken",
        reason=reason,
    )


def park_training(
    connection: redis.Redis, settings: Settings, project_id: str, payload: Any, reason: str
) -> None:
    """Leave a failed job that tells why a project's last training published nothing."""
    _park(
        connection,
        settings,
        job_id=f"refused-{project_id}",
        queue_name="train",
        func_name=_TRAIN_JOB,
        payload=payload,
        timeout_s=settings.train_timeout_s,
        meta={REFUSED: True, "project": project_id},
        description=f"refused training of project {project_id}",
        reason=reason,
    )


def forget_failed_trainings(connection: redis.Redis, project_id: str) -> None:
    """Forget that trainings of the project failed or were refused: a later one has ended."""
    registry = queue(connection, "train").failed_job_registry
    for job in SafeJob.fetch_many(
        registry.get_job_ids(), connection=connection, serializer=JSONSerializer
    ):
        if job is not None and job.func_name == _TRAIN_JOB and job.meta["project"] == project_id:
            registry.remove(job, delete_job=True)


def _id_of(kind: str, names: Iterable[str]) -> str:
    """The same for the same names, in any order."""
    digest = hashlib.blake2b("\n".join(sorted(names)).encode(), digest_size=10).hexdigest()
    return f"{kind}-{digest}"


def _park(
    connection: redis.Redis,
    settings: Settings,
    *,
    job_id: str,
    queue_name: str,
    func_name: str,
    payload: Any,
    timeout_s: int,
    meta: Mapping[str, Any],
    description: str,
    reason: str,
) -> None:
    if connection.hget(SafeJob.key_for(job_id), "status") in (b"queued", b"started"):
        return  # just that is being tried again
    job: Any = SafeJob.create(
        func_name,
        args=(payload,),
        connection=connection,
        serializer=JSONSerializer,
        id=job_id,
        origin=queue_name,
        timeout=timeout_s,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        status=JobStatus.FAILED,
        retry=Retry(max=settings.job_retries) if settings.job_retries else None,
        description=description,
        meta=dict(meta),
    )
    with connection.pipeline() as pipe:
        pipe.delete(job.key)
        job.save(pipeline=pipe)
        job._handle_failure(f"Parked: {reason}", pipe)
        pipe.execute()

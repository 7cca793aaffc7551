"""Jobs of workers that died are done by others.

RQ itself notices a dead worker only after the job's whole timeout. Whoever knows of a death
(the supervisor that waited for its child, or heartbeats that stopped) calls these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import redis
import structlog
from rq import SimpleWorker
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from backend.jobs.queues import ALL_QUEUES, SafeJob, queue
from backend.jobs.riders import put_back_stranded
from backend.store import keys
from backend.store.fleet import Fleet

log = structlog.get_logger(__name__)

_SCAN_COUNT = 1000
_LOCK_S = 5


def requeue_of_dead(
    connection: redis.Redis, worker_name: str, *, why: str, again: bool = True
) -> list[str]:
    """Put back what a dead worker was doing; returns the ids of its jobs.

    again: whether they are tried again; else, and when their tries are used up, they fail
    with ``why``. Calling it twice does nothing more.
    """
    # Supervisors of several machines may notice the same silence at once. Should the holder
    # fail, the worker is still in the fleet's list and found lost again.
    if not connection.set(keys.recovery(worker_name), b"1", nx=True, ex=_LOCK_S):
        return []
    executions = _executions_of(connection, worker_name)
    for execution in executions:
        # A job that was deleted meanwhile needs nobody.
        with contextlib.suppress(NoSuchJobError):
            _put_back(connection, execution, worker_name, why=why, again=again)
    put_back_stranded(connection)
    worker: Any = SimpleWorker.find_by_key(
        f"rq:worker:{worker_name}",
        connection=connection,
        job_class=SafeJob,
        serializer=JSONSerializer,
    )
    if worker is not None:
        worker.set_current_job_id(None)
        worker.register_death()
    Fleet(connection).forget(worker_name)
    connection.delete(keys.recovery(worker_name))
    return [execution.job_id for execution in executions]


def misplaced_jobs(connection: redis.Redis) -> dict[str, str]:
    """Job id -> queue of jobs that count as queued but stand in no queue.

    A worker that dies between taking an id from a queue and saying so leaves such a job.
    A living worker does for about a millisecond, so only what is still misplaced at a
    second look is lost.
    """
    waiting: set[str] = set()
    found: dict[str, str] = {}
    # Jobs before lists: one that is queued meanwhile is then seen in its list.
    for names in _chunks(connection.scan_iter(match="rq:job:*", count=_SCAN_COUNT, _type="hash")):
        with connection.pipeline(transaction=False) as pipe:
            for key in names:
                pipe.hmget(key, "status", "origin")
            for key, (status, origin) in zip(names, pipe.execute(), strict=True):
                if status == b"queued" and origin is not None and origin.decode() in ALL_QUEUES:
                    found[key.decode().removeprefix("rq:job:")] = origin.decode()
    if not found:
        return {}
    # One look at all of them: a job moves between its queue and the riders.
    with connection.pipeline() as pipe:
        pipe.hkeys(keys.riders())
        for name in ALL_QUEUES:
            pipe.lrange(queue(connection, name).key, 0, -1)
        for ids in pipe.execute():
            waiting.update(job_id.decode() for job_id in ids)
    return {job_id: name for job_id, name in found.items() if job_id not in waiting}


def put_back_misplaced(connection: redis.Redis, suspects: dict[str, str]) -> list[str]:
    """Queue those suspects that are misplaced still; returns their ids."""
    if not suspects:
        return []
    still = misplaced_jobs(connection)
    lost = [job_id for job_id in suspects if job_id in still]
    for job_id in lost:
        queue(connection, still[job_id]).push_job_id(job_id, at_front=True)
        log.warning("lost_job_queued_again", job=job_id, queue=still[job_id])
    return lost


def _executions_of(connection: redis.Redis, worker_name: str) -> list[Execution]:
    # An execution is recorded before the worker's own note of its job, and goes with it.
    found = []
    for name in ALL_QUEUES:
        entries: Any = connection.zrange(
            StartedJobRegistry(queue=queue(connection, name)).key, 0, -1
        )
        for entry in entries:
            execution = Execution.from_composite_key(entry.decode(), connection)
            owner: Any = connection.hget(execution.key, "worker_name")
            if owner == worker_name.encode():
                found.append(execution)
    return found


def _put_back(
    connection: redis.Redis, execution: Execution, worker_name: str, *, why: str, again: bool
) -> None:
    job: Any = SafeJob.fetch(execution.job_id, connection=connection, serializer=JSONSerializer)
    with connection.pipeline() as pipe:
        execution.delete(job, pipe)
        if job.get_status() not in (JobStatus.STARTED, JobStatus.QUEUED):
            outcome = "ended before"
        elif again and job.retries_left:
            outcome = "queued again"
            job.enqueue_at_front_on_retry = True
            job.retry(queue(connection, job.origin), pipe)
        else:
            outcome = "failed"
            job.set_status(JobStatus.FAILED, pipeline=pipe)
            job._handle_failure(why, pipe, worker_name=worker_name)
        pipe.execute()
    log.warning("job_of_dead_worker", job=job.id, worker=worker_name, outcome=outcome, why=why)


def _chunks(items: Iterable[bytes], size: int = _SCAN_COUNT) -> Iterable[list[bytes]]:
    chunk: list[bytes] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

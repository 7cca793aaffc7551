"""Jobs of dead workers: put back once, found where nobody noted them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis
from rq import SimpleWorker
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from backend.jobs.queues import SafeJob, enqueue, queue
from backend.jobs.recovery import misplaced_jobs, put_back_misplaced, requeue_of_dead
from backend.settings import Settings
from backend.store import keys
from backend.store.fleet import Fleet, WorkerInfo
from tests.jobs.processes import SAMPLE, allow_samples

SettingsOf = Callable[..., Settings]


def begun(connection: redis.Redis, settings: Settings, worker_name: str) -> Any:
    """A job that a worker of this name has begun and will never end."""
    allow_samples()
    job = enqueue(connection, "predict", f"{SAMPLE}.sleep", 0, settings=settings, description="")
    connection.lpop("rq:queue:predict")
    worker: Any = SimpleWorker(
        [queue(connection, "predict")],
        name=worker_name,
        connection=connection,
        job_class=SafeJob,
        serializer=JSONSerializer,
    )
    worker.register_birth()
    worker.prepare_execution(job)
    worker.prepare_job_execution(job)
    return job


def test_a_begun_job_goes_to_the_front_of_its_queue_once(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings()
    job = begun(connection, own, "dead")
    enqueue(connection, "predict", f"{SAMPLE}.sleep", 0, settings=own, description="", job_id="b")
    assert job.get_status() == JobStatus.STARTED
    assert requeue_of_dead(connection, "somebody else", why="") == []
    assert requeue_of_dead(connection, "dead", why="x") == [job.id]
    assert requeue_of_dead(connection, "dead", why="x") == []
    assert queue(connection, "predict").get_job_ids() == [job.id, "b"]
    assert SafeJob.fetch(job.id, connection=connection).retries_left == 2
    assert connection.smembers("rq:workers") == set()


def test_while_one_puts_back_another_keeps_off(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    job = begun(connection, settings(), "dead")
    connection.set(keys.recovery("dead"), b"1")
    assert requeue_of_dead(connection, "dead", why="x") == []
    connection.delete(keys.recovery("dead"))
    assert requeue_of_dead(connection, "dead", why="x") == [job.id]


def test_a_deleted_job_needs_nobody(connection: redis.Redis, settings: SettingsOf) -> None:
    job = begun(connection, settings(), "dead")
    connection.delete(job.key)
    requeue_of_dead(connection, "dead", why="x")
    assert queue(connection, "predict").count == 0


def test_a_job_between_queue_and_worker_is_found_at_the_second_look(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    allow_samples()
    job: Any = enqueue(
        connection, "push", f"{SAMPLE}.sleep", 0, settings=settings(), description=""
    )
    assert misplaced_jobs(connection) == {}
    connection.lpop("rq:queue:push")  # what a worker does just before it dies
    suspects = misplaced_jobs(connection)
    assert suspects == {job.id: "push"}
    assert put_back_misplaced(connection, suspects) == [job.id]
    assert put_back_misplaced(connection, suspects) == [], "now it stands in its queue"
    assert queue(connection, "push").get_job_ids() == [job.id]


def test_requeueing_twice_or_of_nobody_does_nothing(connection: redis.Redis) -> None:
    info = WorkerInfo("w", "h", 1, "cpu", "", "ready")
    Fleet(connection).beat(replace(info, jobs_done=1))
    assert requeue_of_dead(connection, "w", why="") == []
    assert requeue_of_dead(connection, "w", why="") == []
    assert Fleet(connection).alive(60) == []

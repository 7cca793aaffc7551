"""The queues with what may run on them.

Whoever can write to Redis can name any function of any installed module as a job, so a
worker runs only functions from an allow-list, and data travels as JSON, never pickled.
"""

from __future__ import annotations

from typing import Any

import redis
import structlog
from rq import Queue
from rq.job import Job, Retry
from rq.serializers import JSONSerializer

from backend.errors import JobForbidden
from backend.settings import Settings

QUEUES = ("interactive", "predict", "push", "bulk")
"""In the order in which workers empty them."""

TRAIN_QUEUES = ("train",)
"""Emptied by workers of their own class, so that no prediction waits for a training."""

ALL_QUEUES = QUEUES + TRAIN_QUEUES

RESULT_TTL_S = 300
FAILURE_TTL_S = 3 * 24 * 3600

REQUEST_ID = "request_id"
"""Under this name log lines and a job's meta carry the request that they belong to."""

ALLOWED = {
    "backend.jobs.carrier.run",
    "backend.jobs.explain.run",
    "backend.jobs.interactive.run",
    "backend.jobs.push.run",
    "backend.jobs.refresh.run",
    "backend.jobs.sync.run",
    "backend.jobs.train.run",
    "backend.jobs.video.run",
}
"""Functions that a job may name; add one here, or with ``allow``."""


class SafeJob(Job):  # type: ignore[misc, unused-ignore]
    """A job that runs nothing but an allowed function.

    Callbacks and webhooks are part of a job's data too and could name anything: none runs.
    """

    def perform(self) -> Any:
        """Run the job's function. Raises: JobForbidden."""
        require_allowed(str(self.func_name))
        return super().perform()

    def execute_success_callback(self, *_: Any) -> None:
        """Nothing."""

    def execute_failure_callback(self, *_: Any) -> None:
        """Nothing."""

    def execute_stopped_callback(self, *_: Any) -> None:
        """Nothing."""

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def allow(func_name: str) -> None:
    """Let jobs of this process name one more function."""
    ALLOWED.add(func_name)


def require_allowed(func_name: str) -> None:
    """Raises: JobForbidden unless jobs may name this function."""
    if func_name not in ALLOWED:
        raise JobForbidden(
            f"A job names {func_name}, which workers do not run.",
            "If you did not add this function, somebody else writes to your Redis: "
            "give it a password and keep it from the network.",
        )


def queue(connection: redis.Redis, name: str) -> Queue:
    """The queue of this name, with our serializer and job class."""
    return Queue(name, connection=connection, serializer=JSONSerializer, job_class=SafeJob)


def asked_by() -> dict[str, str]:
    """For a job's meta: the request on whose behalf it is queued, if there is one.

    A worker writes it into every line of the job, and hands it on to what the job queues.
    """
    bound = structlog.contextvars.get_contextvars()
    return {REQUEST_ID: str(bound[REQUEST_ID])} if REQUEST_ID in bound else {}


def failed_count(connection: redis.Redis, name: str) -> int:
    """How many jobs of this queue failed and are kept, to be seen and tried again."""
    found: Any = connection.zcard(queue(connection, name).failed_job_registry.key)
    return int(found)


def enqueue(
    connection: redis.Redis,
    queue_name: str,
    func_name: str,
    payload: Any,
    *,
    settings: Settings,
    description: str,
    job_id: str | None = None,
    at_front: bool = False,
    timeout_s: int | None = None,
) -> Job:
    """Queue ``func_name(payload)``.

    payload: JSON, small. description: for people; it must not repeat the payload, which may
    hold addresses that nobody else should see. timeout_s: JOB_TIMEOUT where not given.
    Raises: JobForbidden.
    """
    require_allowed(func_name)
    return queue(connection, queue_name).enqueue_call(
        func=func_name,
        args=(payload,),
        timeout=timeout_s or settings.job_timeout_s,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        description=description,
        job_id=job_id,
        at_front=at_front,
        retry=retry_of(settings),
        meta=asked_by(),
    )


def retry_of(settings: Settings) -> Retry | None:
    """How often a job is done again after its worker died: at once, before other jobs."""
    if not settings.job_retries:
        return None
    return Retry(max=settings.job_retries, enqueue_at_front=True)

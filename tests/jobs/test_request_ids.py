"""A request's id goes with its jobs into the lines of the worker that does them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis
import structlog
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from backend.jobs.queues import REQUEST_ID, SafeJob, asked_by, queue
from backend.jobs.training import request_training
from backend.settings import Settings
from backend.store.counters import Counters
from tests.jobs.conftest import Road
from tests.jobs.test_worker import put, worker_process


def bound() -> Any:
    """As the server's middleware binds it."""
    return structlog.contextvars.bound_contextvars(**{REQUEST_ID: "from-outside-1"})


def meta_of(connection: redis.Redis, queue_name: str) -> dict[str, Any]:
    (job_id,) = queue(connection, queue_name).job_ids
    job = SafeJob.fetch(job_id, connection=connection, serializer=JSONSerializer)
    return dict(job.meta)


def test_outside_of_a_request_there_is_none() -> None:
    assert asked_by() == {}


def test_a_carrier_has_it(road: Road) -> None:
    with bound():
        road.dispatcher.begin(road.call(road.pictures.add(2)))
    meta = meta_of(road.connection, "predict")
    assert meta == {"done": 0, "total": 2, "project": "1", REQUEST_ID: "from-outside-1"}


def test_a_training_has_it(connection: redis.Redis, settings: Callable[..., Settings]) -> None:
    with bound():
        request_training(connection, settings(), "1", 0.0)
    assert meta_of(connection, "train")[REQUEST_ID] == "from-outside-1"


@pytest.mark.slow
def test_every_line_of_the_job_has_it(
    connection: redis.Redis, settings: Callable[..., Settings], until: Callable[..., None]
) -> None:
    own = settings(log_format="json")
    with bound():
        job = put(connection, own, "predict", "raise_plain", "runs")
    with worker_process(own) as process:
        until(lambda: job.get_status() == JobStatus.FAILED)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=10)
    lines = [json.loads(line) for line in told.splitlines()]
    (failed,) = [line for line in lines if line["event"] == "job_failed"]
    assert (failed[REQUEST_ID], failed["job"]) == ("from-outside-1", job.id)
    assert all(REQUEST_ID not in line for line in lines if line["event"] == "worker_ready")
    key = ("jobs_failed", (("code", "unexpected"), ("queue", "predict")))
    assert Counters(connection).read()[key] == 1

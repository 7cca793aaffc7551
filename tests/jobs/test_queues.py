"""Queues: what may run, how it is kept."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Callback
from rq.serializers import JSONSerializer

from backend.errors import JobForbidden
from backend.jobs.queues import QUEUES, SafeJob, enqueue, queue, retry_of
from backend.settings import Settings

SettingsOf = Callable[..., Settings]


def test_the_interactive_queue_comes_first_and_bulk_last() -> None:
    assert QUEUES == ("interactive", "predict", "push", "bulk")


def test_a_job_is_kept_as_json_under_our_rules(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    job = enqueue(
        connection,
        "predict",
        "backend.jobs.carrier.run",
        {"address": "http://host/private.png"},
        settings=settings(job_timeout_s=7, job_retries=2),
        description="1 task of project 3",
        job_id="mine",
    )
    stored: Any = connection.hgetall("rq:job:mine")
    data = json.loads(zlib.decompress(stored[b"data"]))
    assert data[0] == "backend.jobs.carrier.run"
    assert data[2] == [{"address": "http://host/private.png"}]
    assert (job.timeout, job.retries_left, job.enqueue_at_front_on_retry) == (7, 2, True)
    assert stored[b"description"] == b"1 task of project 3", "no address in what is logged"
    assert job.result_ttl == 300
    assert job.failure_ttl == 3 * 24 * 3600
    assert isinstance(queue(connection, "predict").fetch_job("mine"), SafeJob)


def test_at_front_goes_before_what_waits(connection: redis.Redis, settings: SettingsOf) -> None:
    for name, at_front in (("a", False), ("b", True)):
        enqueue(
            connection,
            "predict",
            "backend.jobs.push.run",
            None,
            settings=settings(),
            description="",
            job_id=name,
            at_front=at_front,
        )
    assert queue(connection, "predict").get_job_ids() == ["b", "a"]


def test_no_retries_is_a_setting(settings: SettingsOf) -> None:
    assert retry_of(settings(job_retries=0)) is None


@pytest.mark.parametrize(
    "func_name", ["subprocess.getoutput", "os.system", "backend.jobs.carrier.other", ""]
)
def test_enqueue_refuses_what_is_not_allowed(
    connection: redis.Redis, settings: SettingsOf, func_name: str
) -> None:
    with pytest.raises(JobForbidden):
        enqueue(connection, "bulk", func_name, "id", settings=settings(), description="")
    assert queue(connection, "bulk").count == 0


def test_a_worker_refuses_what_somebody_else_queued(
    connection: redis.Redis, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    foreign = Queue("bulk", connection=connection, serializer=JSONSerializer)
    job = foreign.enqueue_call("subprocess.getoutput", args=(f"touch {proof}",))
    worker = SimpleWorker(
        [queue(connection, "bulk")],
        connection=connection,
        job_class=SafeJob,
        serializer=JSONSerializer,
    )
    worker.work(burst=True, logging_level="CRITICAL")
    assert not proof.exists()
    result = job.latest_result()
    assert result is not None
    assert "JobForbidden" in str(result.exc_string)


def test_callbacks_of_a_job_never_run(connection: redis.Redis, tmp_path: Path) -> None:
    # Data of a job as well: a forbidden function fails, and failing runs the callback.
    foreign = Queue("bulk", connection=connection, serializer=JSONSerializer)
    foreign.enqueue_call(
        "subprocess.getoutput", args=("true",), on_failure=Callback(record_callback)
    )
    worker = SimpleWorker(
        [queue(connection, "bulk")],
        connection=connection,
        job_class=SafeJob,
        serializer=JSONSerializer,
    )
    worker.work(burst=True, logging_level="CRITICAL")
    assert CALLED == []


CALLED: list[object] = []


def record_callback(*arguments: object) -> None:
    """Called by RQ where callbacks are not switched off."""
    CALLED.append(arguments)

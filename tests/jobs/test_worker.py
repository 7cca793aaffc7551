"""A real worker process: strict order, timeouts, state, leaving."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis
from rq.job import JobStatus
from rq.results import Result

from backend.jobs.queues import QUEUES, enqueue
from backend.jobs.worker import EXIT_CANNOT_WARM
from backend.settings import Settings
from backend.store import keys
from backend.store.fleet import Fleet
from tests.jobs.processes import ROOT, SAMPLE, allow_samples, environment

pytestmark = pytest.mark.slow

SettingsOf = Callable[..., Settings]
Until = Callable[..., None]


@contextmanager
def worker_process(settings: Settings, name: str = "w1") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.jobs.slot_process", name]
    process = subprocess.Popen(command, env=environment(settings), cwd=ROOT, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def put(connection: redis.Redis, settings: Settings, where: str, what: str, payload: Any) -> Any:
    allow_samples()
    return enqueue(
        connection, where, f"{SAMPLE}.{what}", payload, settings=settings, description=what
    )


def _heard_s(connection: redis.Redis) -> float:
    """When the worker w1 was heard last."""
    heard: Any = connection.zscore(keys.fleet_beats(), "w1")
    return float(heard)


def _heard_after(connection: redis.Redis, since_s: float) -> bool:
    return _heard_s(connection) > since_s


def test_queues_are_emptied_in_strict_order(
    connection: redis.Redis, settings: SettingsOf, until: Until
) -> None:
    own = settings()
    jobs = {
        name: [put(connection, own, name, "sleep", 0.01) for _ in range(2)]
        for name in reversed(QUEUES)
    }
    with worker_process(own):
        until(lambda: all(job.is_finished for some in jobs.values() for job in some))
    for job in (job for some in jobs.values() for job in some):
        job.refresh()
    wanted = [job.ended_at for name in QUEUES for job in jobs[name]]
    assert wanted == sorted(wanted)
    assert len(set(wanted)) == 8


def test_it_tells_its_state_and_counts_its_jobs(
    connection: redis.Redis, settings: SettingsOf, until: Until
) -> None:
    own = settings(heartbeat_s=0.1)
    fleet = Fleet(connection)
    with worker_process(own) as process:
        until(lambda: [i.state for i in fleet.alive(5)] == ["ready"])
        (info,) = fleet.alive(5)
        assert (info.name, info.pid, info.backbone) == ("w1", process.pid, "mobilenet_v2")
        identity = fleet.identity()
        assert identity is not None
        assert (identity.name, identity.digest, identity.size_px) == ("mobilenet_v2", "00ff", 224)
        job = put(connection, own, "predict", "hold", "released")
        until(lambda: job.get_status() == JobStatus.STARTED)
        for _ in range(3):  # beats go on while the job holds the main thread
            until(partial(_heard_after, connection, _heard_s(connection)))
        connection.set("released", "1")
        until(lambda: [i.jobs_done for i in fleet.alive(5)] == [1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert fleet.alive(60) == []


def test_a_model_that_cannot_be_loaded_is_told(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    with worker_process(settings(backbone="vgg16")) as process:
        assert process.wait(20) == EXIT_CANNOT_WARM
    (info,) = Fleet(connection).alive(60)
    assert info.state == "failed"
    assert info.reason == "No weights for vgg16. Set BACKBONE_WEIGHTS."


def test_sigterm_lets_the_running_job_finish(
    connection: redis.Redis, settings: SettingsOf, until: Until
) -> None:
    own = settings()
    job = put(connection, own, "predict", "sleep", 1.0)
    waiting = put(connection, own, "predict", "sleep", 0)
    with worker_process(own) as process:
        until(lambda: job.get_status() == JobStatus.STARTED)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert job.get_status() == JobStatus.FINISHED
    assert waiting.get_status() == JobStatus.QUEUED


def test_a_job_over_its_time_is_stopped_and_not_repeated(
    connection: redis.Redis, settings: SettingsOf, until: Until
) -> None:
    own = settings(job_timeout_s=1, job_retries=3)
    job = put(connection, own, "predict", "sleep", 30)
    with worker_process(own):
        until(lambda: job.get_status() == JobStatus.FAILED)
    result = job.latest_result()
    assert "JobTimeoutException" in result.exc_string


@pytest.mark.parametrize(
    ("name", "runs"), [("raise_plain", 1), ("raise_retryable", 3)], ids=["defect", "retryable"]
)
def test_only_errors_that_say_so_are_tried_again(
    connection: redis.Redis, settings: SettingsOf, until: Until, name: str, runs: int
) -> None:
    own = settings(job_retries=2)
    job = put(connection, own, "predict", name, "runs")
    with worker_process(own) as process:
        until(lambda: job.get_status() == JobStatus.FAILED)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=10)
    assert connection.get("runs") == str(runs).encode()
    assert job.latest_result().type == Result.Type.FAILED
    assert b"job_failed" in told
    assert job.id.encode() in told


def test_log_lines_can_be_json(connection: redis.Redis, settings: SettingsOf, until: Until) -> None:
    with worker_process(settings(log_format="json")) as process:
        until(lambda: [i.state for i in Fleet(connection).alive(5)] == ["ready"])
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=10)
    lines = [json.loads(line) for line in told.splitlines()]
    ready = next(line for line in lines if line["event"] == "worker_ready")
    assert (ready["worker"], ready["level"], ready["device"]) == ("w1", "info", "cpu")

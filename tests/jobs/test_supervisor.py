"""What must be true after workers and supervisors were killed in the middle of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import redis
from rq.job import JobStatus

from backend.jobs.queues import enqueue, queue
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.settings import Settings
from backend.store.fleet import Fleet, WorkerInfo
from tests.jobs.processes import (
    ROOT,
    SAMPLE,
    environment,
    slot_command,
    supervised,
    ticking,
)

pytestmark = pytest.mark.slow

SettingsOf = Callable[..., Settings]


def test_a_killed_workers_job_is_done_once_by_another(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings()
    with supervised(own, connection, workers=2) as supervisor:
        job: Any = enqueue(
            connection,
            "predict",
            f"{SAMPLE}.count",
            {"key": "runs", "first_s": 60},
            settings=own,
            description="",
        )
        ticking(supervisor, lambda: connection.get("runs") == b"1")
        job.refresh()
        victim_name = str(job.worker_name)
        fleet = Fleet(connection)
        victim = next(info.pid for info in fleet.alive(5) if info.name == victim_name)
        os.kill(victim, signal.SIGKILL)
        assert ticking(supervisor, lambda: job.is_finished, timeout_s=10) < 3
        job.refresh()
        assert job.worker_name != victim_name
        assert connection.get("runs") == b"2"
        assert job.latest_result().return_value == 2
        # One entry "ok" on the stream that waiting requests read, nothing before it.
        assert [result.type.value for result in job.results()] == [1]
        ticking(supervisor, lambda: sum(i.state == "ready" for i in fleet.alive(5)) == 2)
        assert victim_name not in {info.name for info in fleet.alive(60)}
        pids = supervisor.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_job_whose_workers_always_die_fails_in_the_end(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings(job_retries=0)
    with supervised(own, connection) as supervisor:
        job: Any = enqueue(
            connection, "predict", f"{SAMPLE}.sleep", 60, settings=own, description=""
        )
        ticking(supervisor, lambda: job.get_status() == JobStatus.STARTED)
        os.kill(supervisor.pids[0], signal.SIGKILL)
        ticking(supervisor, lambda: job.get_status() == JobStatus.FAILED)
        assert "its worker died" in str(job.latest_result().exc_string)


def test_a_job_that_hears_no_alarm_is_ended_with_its_worker(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings(job_timeout_s=1, job_retries=3)
    with supervised(own, connection, hang_grace_s=1.0) as supervisor:
        before = supervisor.pids
        job: Any = enqueue(
            connection, "predict", f"{SAMPLE}.ignore_alarms", 60, settings=own, description=""
        )
        ticking(supervisor, lambda: job.get_status() == JobStatus.FAILED, timeout_s=10)
        assert "longer than its timeout" in str(job.latest_result().exc_string)
        ticking(supervisor, lambda: supervisor.pids and supervisor.pids != before)


def test_stopping_puts_back_what_cannot_be_finished(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings()
    with supervised(own, connection) as supervisor:
        job: Any = enqueue(connection, "bulk", f"{SAMPLE}.sleep", 60, settings=own, description="")
        ticking(supervisor, lambda: job.get_status() == JobStatus.STARTED)
        pids = supervisor.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert job.get_status() == JobStatus.QUEUED
    assert queue(connection, "bulk").get_job_ids() == [job.id]
    assert Fleet(connection).alive(60) == []


def test_a_killed_supervisor_leaves_no_worker(
    connection: redis.Redis, settings: SettingsOf, until: Callable[..., None]
) -> None:
    command = [sys.executable, "-m", "tests.jobs.supervisor_process"]
    with subprocess.Popen(command, env=environment(settings()), cwd=ROOT) as process:
        try:
            fleet = Fleet(connection)
            until(lambda: sum(i.state == "ready" for i in fleet.alive(5)) == 2)
            children = psutil.Process(process.pid).children()
            assert len(children) == 2
        finally:
            process.kill()
    until(lambda: not any(runs(child) for child in children))


def runs(process: psutil.Process) -> bool:
    """Whether it still runs; in a container without init the dead may stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_model_that_cannot_be_loaded_stays_in_sight_and_is_tried_again(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings(backbone="vgg16")
    supervisor = Supervisor(
        own, connection, [Slot(0, "cpu", 1)], environment(own), command=slot_command
    )
    fleet = Fleet(connection)
    try:
        supervisor.start()
        first = supervisor.pids
        ticking(supervisor, lambda: any(i.state == "failed" for i in fleet.alive(5)))
        ticking(supervisor, lambda: supervisor.pids and supervisor.pids != first)
        ticking(supervisor, lambda: not supervisor.pids)
        failed = [info for info in fleet.alive(5) if info.state == "failed"]
        assert [info.reason for info in failed] == ["No weights for vgg16. Set BACKBONE_WEIGHTS."]
    finally:
        supervisor.stop()
    assert fleet.alive(60) == []


def test_a_silent_worker_of_another_machine_is_given_up(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings(worker_lost_s=0.5)
    Fleet(connection).beat(WorkerInfo("far-away", "other", 1, "cpu", "resnet18", "ready"))
    with supervised(own, connection) as supervisor:
        ticking(
            supervisor,
            lambda: "far-away" not in {info.name for info in Fleet(connection).alive(60)},
            timeout_s=10,
        )

"""A job in steps: JOB_TIMEOUT bounds each of them, for RQ's alarm and for the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from rq.job import JobStatus

from backend.jobs.patience import LIMIT
from backend.jobs.queues import enqueue
from backend.settings import Settings
from tests.jobs.processes import SAMPLE, supervised, ticking

pytestmark = pytest.mark.slow


def test_steps_within_their_time_may_take_longer_together(
    connection: redis.Redis, settings: Callable[..., Settings]
) -> None:
    own = settings(job_timeout_s=2, job_retries=0)
    with supervised(own, connection, hang_grace_s=0.5) as supervisor:
        before = supervisor.pids
        payload = {"seconds": [1.2] * 4, "each_s": 2}
        job: Any = enqueue(
            connection, "predict", f"{SAMPLE}.steps", payload, settings=own, description=""
        )
        ticking(supervisor, lambda: job.get_status() == JobStatus.FINISHED)
        assert int(connection.hget(job.key, LIMIT) or 0) >= 5
        assert supervisor.pids == before, "nobody was killed"


def test_a_step_beyond_its_time_is_stopped(
    connection: redis.Redis, settings: Callable[..., Settings]
) -> None:
    own = settings(job_timeout_s=20, job_retries=0)
    with supervised(own, connection) as supervisor:
        payload = {"seconds": [0.1, 60], "each_s": 1}
        job: Any = enqueue(
            connection, "predict", f"{SAMPLE}.steps", payload, settings=own, description=""
        )
        ticking(supervisor, lambda: job.get_status() == JobStatus.FAILED)
        assert "JobTimeoutException" in str(job.latest_result().exc_string)

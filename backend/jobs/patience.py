"""More time for a job that gets on: JOB_TIMEOUT then bounds each of its steps."""

from __future__ import annotations

import signal
import time
from typing import Any

import redis
from rq.job import Job

LIMIT = "limit"
"""Field of a job's record: seconds since it was begun after which it hangs."""

_MARGIN_S = 60


class Patience:
    """Of one run of a job; job None: of nobody whom anything stops."""

    def __init__(self, connection: redis.Redis, job: Job | None) -> None:
        self._redis = connection
        self._job = job
        self._begun_s = time.monotonic()

    def renew(self, seconds: int) -> None:
        """The job may take so long from now on. Call it from the main thread."""
        if self._job is None:
            return
        # RQ stops a job by this alarm, and forgets who runs it a minute after its time.
        signal.alarm(seconds)
        ran_s = int(time.monotonic() - self._begun_s)
        registry = f"rq:executions:{self._job.id}"
        executions: Any = self._redis.zrange(registry, 0, -1)
        with self._redis.pipeline() as pipe:
            pipe.hset(self._job.key, LIMIT, ran_s + seconds)
            pipe.expire(f"rq:worker:{self._job.worker_name}", seconds + _MARGIN_S)
            pipe.expire(registry, seconds + _MARGIN_S)
            for one in executions:
                name = f"rq:execution:{self._job.id}:{one.decode()}"
                pipe.expire(name, seconds + _MARGIN_S)
            pipe.execute()

"""Which jobs are waited for."""

from __future__ import annotations

import threading
import time

import redis

from backend.jobs.claims import jobs_at_work, new_job_id
from backend.jobs.queues import queue
from backend.store import keys


def test_waiting_and_running_jobs_are_at_work_others_are_not(connection: redis.Redis) -> None:
    waiting = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    running = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{running}", "status", "started")
    over = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{over}", "status", "finished")
    asked = [waiting, running, over, "odd", new_job_id("predict", time.time())]
    assert jobs_at_work(connection, asked, coming_s=0.0) == {waiting, running}
    assert jobs_at_work(connection, []) == set()


def test_a_job_that_is_queued_in_a_moment_is_waited_for(connection: redis.Redis) -> None:
    # Its id tells of a machine whose clock is an hour behind: that is none of our business.
    coming, never = new_job_id("predict", time.time() - 3600), new_job_id("predict", time.time())
    later = threading.Timer(
        0.2, lambda: connection.hset(f"rq:job:{coming}", mapping={"status": "queued"})
    )
    later.start()
    assert jobs_at_work(connection, [coming], coming_s=30.0) == {coming}
    later.join()
    assert jobs_at_work(connection, [coming, never], coming_s=0.1) == {coming}


def test_a_running_job_that_was_cancelled_is_not_waited_for(connection: redis.Redis) -> None:
    running = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{running}", "status", "started")
    connection.set(keys.cancel_flag(running), b"1")
    assert jobs_at_work(connection, [running]) == set()

"""Which jobs are waited for."""

from __future__ import annotations

import redis

from backend.jobs.claims import jobs_at_work, new_job_id
from backend.jobs.queues import queue
from backend.store import keys

NOW_S = 1_800_000_000.0


def test_new_waiting_and_running_jobs_are_at_work_others_are_not(connection: redis.Redis) -> None:
    new, old = new_job_id("predict", NOW_S), new_job_id("predict", NOW_S - 60)
    waiting = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    running = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{running}", "status", "started")
    over = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{over}", "status", "finished")
    asked = [new, old, waiting, running, over, "odd"]
    assert jobs_at_work(connection, asked, NOW_S) == {new, waiting, running}
    assert jobs_at_work(connection, [], NOW_S) == set()


def test_a_running_job_that_was_cancelled_is_not_waited_for(connection: redis.Redis) -> None:
    running = queue(connection, "predict").enqueue("backend.jobs.carrier.run", {}).id
    connection.hset(f"rq:job:{running}", "status", "started")
    connection.set(keys.cancel_flag(running), b"1")
    assert jobs_at_work(connection, [running], NOW_S) == set()

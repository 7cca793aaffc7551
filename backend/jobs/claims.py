"""Which jobs are still at work on what they claimed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any

import redis
from rq.job import Job

from backend.store import keys

CLAIM_TTL_S = 6 * 3600
"""A claim outlives any backlog; one whose job has ended is taken over long before."""

COMING_S = 2.0
"""For so long a job that nobody has queued yet is waited for: tasks are claimed a moment before
their job is queued, and who claimed them may have died in between."""

_PAUSE_S = 0.02
_AT_WORK = frozenset((b"queued", b"started", b"scheduled", b"deferred"))


def new_job_id(prefix: str, now_s: float) -> str:
    """A fresh job id that tells people when it was made, in milliseconds."""
    return f"{prefix}-{int(now_s * 1000):x}-{secrets.token_hex(4)}"


def jobs_at_work(
    connection: redis.Redis, job_ids: Iterable[str], *, coming_s: float = COMING_S
) -> set[str]:
    """Those that wait or run, and shall go on; one round trip where all are known.

    A running job that was cancelled stops after the batch in hand or the next: who waits for
    the rest of its tasks would wait in vain. coming_s: how long to wait for those not known yet; by
    this machine's steady clock, since the one that claimed may be another with another time.
    """
    until_s = time.monotonic() + coming_s
    at_work, unknown = _look(connection, dict.fromkeys(job_ids))
    while unknown and time.monotonic() < until_s:
        time.sleep(_PAUSE_S)
        more, unknown = _look(connection, unknown)
        at_work |= more
    return at_work


def _look(connection: redis.Redis, job_ids: Iterable[str]) -> tuple[set[str], list[str]]:
    """Those at work, and those that nobody knows."""
    wanted = list(job_ids)
    if not wanted:
        return set(), []
    with connection.pipeline(transaction=False) as pipe:
        for job_id in wanted:
            pipe.hget(Job.key_for(job_id), "status")
            pipe.exists(keys.cancel_flag(job_id))
        found: list[Any] = pipe.execute()
    states = {
        job_id: state
        for job_id, state, cancelled in zip(wanted, found[::2], found[1::2], strict=True)
        if not cancelled
    }
    at_work = {job_id for job_id, state in states.items() if state in _AT_WORK}
    return at_work, [job_id for job_id, state in states.items() if state is None]

"""Which jobs are still at work on what they claimed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import redis
from rq.job import Job

from backend.store import keys

CLAIM_TTL_S = 6 * 3600
"""A claim outlives any backlog; one whose job has ended is taken over long before."""

_NEW_S = 5.0
_AT_WORK = frozenset((b"queued", b"started", b"scheduled", b"deferred"))


def new_job_id(prefix: str, now_s: float) -> str:
    """A fresh job id that tells when it was made, in milliseconds."""
    return f"{prefix}-{int(now_s * 1000):x}-{secrets.token_hex(4)}"


def jobs_at_work(connection: redis.Redis, job_ids: Iterable[str], now_s: float) -> set[str]:
    """Those that wait or run, and shall go on; one round trip.

    A running job that was cancelled stops after the batch in hand: who waits for the rest
    of its tasks would wait in vain. Tasks are claimed a moment before their job is queued,
    so an unknown job whose id is seconds old counts as one that waits.
    """
    wanted = list(dict.fromkeys(job_ids))
    if not wanted:
        return set()
    with connection.pipeline(transaction=False) as pipe:
        for job_id in wanted:
            pipe.hget(Job.key_for(job_id), "status")
            pipe.exists(keys.cancel_flag(job_id))
        found: list[Any] = pipe.execute()
    return {
        job_id
        for job_id, state, cancelled in zip(wanted, found[::2], found[1::2], strict=True)
        if not cancelled
        and (state in _AT_WORK or (state is None and now_s - _made_at_s(job_id) < _NEW_S))
    }


def _made_at_s(job_id: str) -> float:
    try:
        return int(job_id.split("-")[-2], 16) / 1000
    except (IndexError, ValueError):
        return 0.0

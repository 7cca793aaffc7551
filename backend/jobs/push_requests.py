"""When a project is pushed: at most one job waits, and failures are given time.

RQ would need a scheduler process for later jobs; the supervisor's tick serves as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from backend.jobs.claims import new_job_id
from backend.jobs.queues import FAILURE_TTL_S, RESULT_TTL_S, queue, retry_of
from backend.settings import Settings
from backend.store import keys
from backend.store.deliveries import Deliveries

log = structlog.get_logger(__name__)

PUSH_JOB = "backend.jobs.push.run"
PUSH_SCHEMA = 1
REVIEW_S = 30.0
"""Seconds after which a project with something left is looked at again unasked."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 300.0
_WAITS_TTL_S = 600  # a push job that was lost is replaced after this


@dataclass(frozen=True, slots=True)
class PushState:
    """ended_s: when the last push ended (epoch). failures: how many in a row failed."""

    ended_s: float = 0.0
    failures: int = 0

    @property
    def not_before_s(self) -> float:
        """Until when a new push would only fail again."""
        if not self.failures:
            return 0.0
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 20))
        return self.ended_s + pause_s


def job_limit_s(settings: Settings) -> int:
    """Seconds after which a push job is stopped."""
    return int(2 * settings.label_studio_timeout_s) + 60


def request_push(
    connection: redis.Redis, settings: Settings, project_id: str, now_s: float
) -> bool:
    """Queue a push of the project, unless one waits or the last failure is too recent."""
    if not settings.can_push or push_state(connection, project_id).not_before_s > now_s:
        return False
    if not connection.set(keys.push_waits(project_id), b"1", nx=True, ex=_WAITS_TTL_S):
        return False
    queue(connection, "push").enqueue_call(
        PUSH_JOB,
        args=({"schema": PUSH_SCHEMA, "project_id": keys.project_id_of(project_id)},),
        job_id=new_job_id("push", now_s),
        timeout=job_limit_s(settings),
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        retry=retry_of(settings),
        description=f"push of project {project_id}",
    )
    return True


def requeue_due_pushes(connection: redis.Redis, settings: Settings, now_s: float) -> int:
    """Queue the pushes whose time has come; returns how many. Cheap enough for every tick."""
    if not settings.can_push:
        return 0
    queued = 0
    for project_id in Deliveries(connection).projects_with_pending():
        state = push_state(connection, project_id)
        due_s = state.not_before_s if state.failures else state.ended_s + REVIEW_S
        if now_s >= due_s:
            queued += request_push(connection, settings, project_id, now_s)
    return queued


def push_begins(connection: redis.Redis, project_id: str) -> None:
    """From now on a further push may be queued: this one may be past what comes in."""
    connection.delete(keys.push_waits(project_id))


def push_ended(
    connection: redis.Redis, project_id: str, *, failed: bool, now_s: float
) -> PushState:
    """Remember how a push went."""
    before = push_state(connection, project_id)
    state = PushState(now_s, before.failures + 1 if failed else 0)
    field = keys.project_id_of(project_id)
    connection.hset(keys.push_states(), field, json.dumps([state.ended_s, state.failures]))
    return state


def push_state(connection: redis.Redis, project_id: str) -> PushState:
    """How the last push of the project went."""
    found: Any = connection.hget(keys.push_states(), keys.project_id_of(project_id))
    if found is None:
        return PushState()
    ended_s, failures = json.loads(found)
    return PushState(ended_s, failures)

"""When ledgers are compared with Label Studio unasked: once a start of the fleet."""

from __future__ import annotations

import redis

from backend.jobs.claims import new_job_id
from backend.jobs.queues import enqueue
from backend.settings import Settings
from backend.store import keys
from backend.store.projects import ProjectStore

SYNC_JOB = "backend.jobs.sync.run"
SYNC_SCHEMA = 1

_ROUND_S = 60


def request_syncs(connection: redis.Redis, settings: Settings, now_s: float) -> list[str]:
    """Queue a sync of every known project; ids of the jobs.

    None without an API key, and where another machine of the fleet did so within a minute.
    """
    projects = [one for one in ProjectStore(connection).all_ids() if one.isdecimal()]
    if not settings.can_push or not projects:
        return []
    if not connection.set(keys.sync_round(), b"1", nx=True, ex=_ROUND_S):
        return []
    return [
        enqueue(
            connection,
            "train",
            SYNC_JOB,
            {"schema": SYNC_SCHEMA, "project_id": project_id},
            settings=settings,
            description=f"sync of project {project_id}",
            job_id=new_job_id("sync", now_s),
            timeout_s=settings.train_timeout_s,
        ).id
        for project_id in projects
    ]

"""When the predictions of a project's unlabelled tasks are made anew: after a new head."""

from __future__ import annotations

import redis

from backend.jobs.claims import new_job_id
from backend.jobs.queues import enqueue
from backend.settings import Settings
from backend.store import keys

REFRESH_JOB = "backend.jobs.refresh.run"
REFRESH_SCHEMA = 1


def request_refresh(
    connection: redis.Redis, settings: Settings, project_id: str, now_s: float
) -> str | None:
    """Id of the job that refreshes; None where that is switched off or cannot be done."""
    if not (settings.refresh_predictions and settings.can_push and project_id.isdecimal()):
        return None
    return enqueue(
        connection,
        "train",
        REFRESH_JOB,
        {"schema": REFRESH_SCHEMA, "project_id": keys.project_id_of(project_id)},
        settings=settings,
        description=f"refresh of project {project_id}",
        job_id=new_job_id("refresh", now_s),
        timeout_s=settings.train_timeout_s,
    ).id

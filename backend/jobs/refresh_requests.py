"""When the predictions of a project's unlabelled tasks are made anew.

After a new head, and after a change of the labelling configuration: predictions that are
stored and shown would go on to name labels that are no longer there.
"""

from __future__ import annotations

import redis

from backend.errors import ConfigError
from backend.jobs.claims import new_job_id
from backend.jobs.queues import enqueue
from backend.labelstudio.labelspec import parse_label_config
from backend.settings import Settings
from backend.store import keys
from backend.store.projects import ProjectStore

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


def config_replaced(
    connection: redis.Redis,
    settings: Settings,
    project_id: str,
    former: str,
    label_config: str,
    now_s: float,
) -> str | None:
    """Refresh a project whose labelling configuration took the place of another.

    Only where a head is in use: before, Label Studio asks for each prediction live. A change
    that alters no prediction, of a colour or of the layout, is none.
    """
    if not former or former == label_config:
        return None
    project_id = keys.project_id_of(project_id)
    if not ProjectStore(connection).head(project_id).number:
        return None
    served = _fingerprint(label_config)
    if not served or served == _fingerprint(former):
        return None
    return request_refresh(connection, settings, project_id, now_s)


def _fingerprint(label_config: str) -> str:
    """ "" where the configuration cannot be served."""
    try:
        return parse_label_config(label_config).fingerprint
    except ConfigError:
        return ""

"""When a project is trained: at most one training of it waits or runs.

Trainings are asked for, or come by themselves once enough was accepted, or once it has been
quiet after something was. The supervisor's tick notices, as it does for pushes.
"""

from __future__ import annotations

from typing import Any

import redis
import structlog

from backend.jobs.claims import jobs_at_work, new_job_id
from backend.jobs.queues import FAILURE_TTL_S, asked_by, queue, retry_of
from backend.settings import Settings
from backend.store import keys
from backend.store.ledgers import Changes, LedgerStore

log = structlog.get_logger(__name__)

TRAIN_JOB = "backend.jobs.train.run"
TRAIN_SCHEMA = 1

OUTCOME_TTL_S = 24 * 3600
"""How long GET /jobs/{id} tells what a training came to."""

_STATE_TTL_S = 7 * 24 * 3600
_ATTEMPTS = 3

_DROP = """
-- KEYS: whose training. ARGV: job id.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


def is_due(changes: Changes, settings: Settings) -> bool:
    """Whether what changed is enough, or has been quiet for long enough."""
    if changes.count >= settings.train_every:
        return True
    return changes.count > 0 and changes.quiet_s >= settings.train_idle_s


def request_training(
    connection: redis.Redis,
    settings: Settings,
    project_id: str,
    now_s: float,
    *,
    asked: bool = False,
) -> str:
    """Id of the job that trains the project: a new one, or the one there is.

    asked: somebody wants it now; where one runs already, another follows it.
    """
    project_id = keys.project_id_of(project_id)
    if asked:
        ask_for_training(connection, project_id)
    job_id = new_job_id("train", now_s)
    name = keys.training(project_id)
    for _ in range(_ATTEMPTS):
        if connection.set(name, job_id, nx=True, ex=_STATE_TTL_S):
            _enqueue(connection, settings, project_id, job_id)
            return job_id
        found: Any = connection.get(name)
        owner = "" if found is None else found.decode()
        if owner and owner in jobs_at_work(connection, [owner]):
            return owner
        training_ended(connection, project_id, owner)  # its job ended without saying so
    return owner


def ask_for_training(connection: redis.Redis, project_id: str) -> None:
    """Have a training of the project begin with the next tick of a supervisor."""
    with connection.pipeline() as pipe:
        pipe.set(keys.training_asked(project_id), b"1", ex=_STATE_TTL_S)
        pipe.sadd(keys.ledger_due(), keys.project_id_of(project_id))
        pipe.execute()


def request_due_trainings(
    connection: redis.Redis, settings: Settings, now_s: float
) -> dict[str, str]:
    """Queue the trainings whose time has come; job id by project. Cheap enough for every tick."""
    store = LedgerStore(connection)
    requested = {}
    for project_id in store.changed_projects():
        asked = bool(connection.exists(keys.training_asked(project_id)))
        if asked or is_due(store.changes(project_id), settings):
            requested[project_id] = request_training(connection, settings, project_id, now_s)
    return requested


def training_begins(connection: redis.Redis, project_id: str) -> bool:
    """From now on changes are for the next training; whether somebody asked for this one."""
    LedgerStore(connection).take_changes(project_id)
    # Read last: who asks between the two is served by this training.
    asked: Any = connection.getdel(keys.training_asked(project_id))
    return asked is not None


def training_ended(connection: redis.Redis, project_id: str, job_id: str) -> None:
    """Another training of the project may be queued."""
    connection.eval(_DROP, 1, keys.training(project_id), job_id)


def _enqueue(connection: redis.Redis, settings: Settings, project_id: str, job_id: str) -> None:
    queue(connection, "train").enqueue_call(
        TRAIN_JOB,
        args=({"schema": TRAIN_SCHEMA, "project_id": project_id},),
        job_id=job_id,
        timeout=settings.train_timeout_s,
        result_ttl=OUTCOME_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        retry=retry_of(settings),
        meta={"done": 0, "total": 1, "project": project_id, **asked_by()},
        description=f"training of project {project_id}",
    )
    log.info("training_queued", project=project_id, job=job_id)

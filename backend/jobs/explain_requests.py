"""Asking for a picture that shows where a method looks for a label on a task.

Imports neither torch nor OpenCV: the server lives on this module.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from backend.errors import (
    BackendError,
    DeadlinePassed,
    JobError,
    JobRefused,
    ProjectNotFound,
    WorkersMissing,
)
from backend.jobs.claims import jobs_at_work, new_job_id
from backend.jobs.queues import RESULT_TTL_S, enqueue
from backend.jobs.views import job_view
from backend.jobs.wait import Watch
from backend.settings import Settings
from backend.store import keys
from backend.store.fleet import Fleet
from backend.store.projects import ProjectStore

EXPLAIN_JOB = "backend.jobs.explain.run"
EXPLAIN_SCHEMA = 1

KEPT_S = RESULT_TTL_S
"""How long a drawn picture is kept: long enough for who asked once and was told to come again."""


@dataclass(frozen=True, slots=True)
class ExplainCall:
    """project_id, task_id: Label Studio's. label: "" for whatever is seen. method: by name."""

    project_id: str
    task_id: int
    label: str
    method: str


@dataclass(frozen=True, slots=True)
class ExplainTicket:
    """name: under which the picture will lie. job_id: who draws it, "" where it lies there."""

    name: str
    job_id: str

    def watch(self) -> Watch:
        """What to wait for."""
        return Watch({self.job_id: 1} if self.job_id else {})


def begin_explaining(
    connection: redis.Redis, settings: Settings, call: ExplainCall
) -> ExplainTicket:
    """Have the picture drawn, unless it lies there or a job is at it.

    Raises: ProjectNotFound, WorkersMissing.
    """
    project = ProjectStore(connection).get(call.project_id)
    if project is None:
        raise ProjectNotFound(
            f"Project {call.project_id} is not known here.",
            "Connect this backend in the project's settings, Model.",
        )
    # Another head or configuration makes another picture.
    made_by = [project.label_config, project.head.number, project.head.digest]
    text = json.dumps([asdict(call), made_by])
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    if connection.exists(keys.explanation(name)):
        return ExplainTicket(name, "")
    if not Fleet(connection).alive(settings.worker_lost_s, "predict"):
        raise WorkersMissing(
            "No worker is alive to draw the explanation.",
            "Start one with `python -m backend worker`; GET /health tells how they are.",
        )
    found: Any = connection.get(keys.explaining(name))
    now_s = time.time()
    if found is not None and jobs_at_work(connection, [found.decode()]):
        return ExplainTicket(name, found.decode())
    job_id = new_job_id("explain", now_s)
    connection.set(keys.explaining(name), job_id, ex=settings.job_timeout_s)
    enqueue(
        connection,
        "interactive",
        EXPLAIN_JOB,
        {"schema": EXPLAIN_SCHEMA, "name": name, **asdict(call)},
        settings=settings,
        description=f"explanation for project {call.project_id}",
        job_id=job_id,
    )
    return ExplainTicket(name, job_id)


def finish_explaining(connection: redis.Redis, ticket: ExplainTicket) -> bytes:
    """The picture, as PNG.

    Raises: JobRefused with what the worker found wrong, DeadlinePassed where it is not
    drawn yet, JobError where the job failed.
    """
    content: Any = connection.get(keys.explanation(ticket.name))
    if content is not None:
        return bytes(content)
    if not ticket.job_id:
        raise DeadlinePassed("The picture ran out just now.", "Ask again.")
    view = job_view(connection, ticket.job_id)
    if view.state in ("queued", "running"):
        raise DeadlinePassed(
            "The explanation is not drawn yet.",
            f"Ask again in a while, the work goes on; GET /jobs/{ticket.job_id} tells how far.",
        )
    refused = (view.outcome or {}).get("refused")
    if refused is not None:
        raise JobRefused(**refused)
    raise JobError(
        f"The explanation could not be drawn: {view.reason or view.state}.",
        "The worker's log has the reason; ask again.",
    )


def refusal(error: BackendError) -> Mapping[str, Any]:
    """What a job returns of an error, for ``finish_explaining`` to raise again."""
    told = {"code": error.code, "status": error.status, "what": error.what, "remedy": error.remedy}
    return {"refused": told}

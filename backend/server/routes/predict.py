"""POST /predict: one entry a task, in order, within the deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import anyio
import structlog
from fastapi import APIRouter, Request, Response

from backend.domain import Task
from backend.errors import LabelConfigInvalid, RequestTooLarge
from backend.jobs.enqueue import Dispatcher, PredictCall, Ticket
from backend.server.bodies import DrawnBody, PredictBody, parse, read_body
from backend.server.limits import caller
from backend.server.link import Parts
from backend.server.openapi import json_body
from backend.server.replies import PredictReply, responses
from backend.server.state import ServerState, state_of
from backend.settings import Settings

MOST_JOB_IDS = 50
"""Ids told in X-Job-Ids; headers beyond a few kilobytes are refused by proxies."""

log = structlog.get_logger(__name__)
router = APIRouter(tags=["Label Studio"])


@router.post(
    "/predict",
    summary="Predict tasks",
    responses=responses(
        {
            "model": PredictReply,
            "headers": {
                "X-Job-Ids": {
                    "description": f"Jobs that work on it, at most {MOST_JOB_IDS}.",
                    "schema": {"type": "string"},
                }
            },
        },
        408,
        413,
        422,
        429,
        503,
    ),
    openapi_extra=json_body(PredictBody),
)
async def predict(request: Request) -> Response:
    """Predictions of the tasks, as many as are ready within the deadline.

    An entry is a prediction, also one that found nothing (`"result": []`), or `[]` where there
    is none: the task cannot be done, or is late. Late tasks go on after the reply, even after
    the caller has gone; asked again they come from the cache, and with LABEL_STUDIO_API_KEY
    they are written into Label Studio without being asked for.
    """
    came_at_s = time.monotonic()
    state = state_of(request)
    body = await read_body(request, state.settings)
    dispatcher, ticket = await anyio.to_thread.run_sync(
        _begin, state, body, caller(request), came_at_s
    )
    limit_s = deadline_s(state.settings, ticket.call)
    await dispatcher.wait(ticket, state.link.async_redis(), limit_s)
    if state.settings.can_push and await request.is_disconnected():
        # Nobody will store this reply, so all of it takes the other way.
        log.info("predict_caller_gone", project=ticket.call.project_id)
        await anyio.to_thread.run_sync(dispatcher.defer_all, ticket)
        return Response(status_code=499)
    found = await anyio.to_thread.run_sync(dispatcher.finish, ticket)
    job_ids = list(dict.fromkeys(ticket.job_of.values()))[:MOST_JOB_IDS]
    headers = {"X-Job-Ids": ",".join(job_ids)} if job_ids else None
    # The cache holds finished JSON: it goes out as it is.
    content = b'{"results":[' + b",".join(entry or b"[]" for entry in found) + b"]}"
    return Response(content, headers=headers, media_type="application/json")


def deadline_s(settings: Settings, call: PredictCall) -> float:
    """Seconds from the arrival of a call to its answer.

    Where nothing can be pushed it is worth waiting for almost as long as Label Studio does.
    """
    if settings.can_push and _is_project(call.project_id):
        return settings.predict_deadline_s
    return settings.predict_deadline_without_key_s


def _is_project(project_id: str) -> bool:
    return project_id.isdecimal()


def _begin(
    state: ServerState, content: bytes, address: str, came_at_s: float
) -> tuple[Dispatcher, Ticket]:
    body = parse(PredictBody, content)
    if len(body.tasks) > state.settings.request_tasks:
        raise RequestTooLarge(
            f"The call has {len(body.tasks)} tasks, {state.settings.request_tasks} are accepted.",
            "Send fewer in one call, raise MAX_REQUEST_TASKS, or pre-annotate the project with "
            "`python -m backend preannotate`.",
        )
    state.limits.tasks.take(address, len(body.tasks))
    parts = state.link.parts()
    # A prediction is pushed to a task of a project; without the one, the other has no id.
    known = _is_project(body.project)
    call = PredictCall(
        project_id=body.project,
        label_config=_label_config(parts, body),
        tasks=tuple(Task(id=task.id if known else None, data=task.data) for task in body.tasks),
        queue="interactive" if len(body.tasks) == 1 else "predict",
        context=_context(body, content),
    )
    return parts.dispatcher, parts.dispatcher.begin(call, came_at_s)


def _context(body: PredictBody, content: bytes) -> Mapping[str, Any] | None:
    asked = body.context()
    return asked and {**asked, "earlier": parse(DrawnBody, content).earlier()}


def _label_config(parts: Parts, body: PredictBody) -> str:
    if body.label_config:
        return body.label_config
    project = parts.projects.get(body.project) if body.project else None
    if project is None or not project.label_config:
        raise LabelConfigInvalid(
            f"There is no labelling configuration for project {body.project!r}.",
            "Send label_config, or connect the project to this backend in Label Studio "
            "(Settings, Model).",
        )
    return project.label_config

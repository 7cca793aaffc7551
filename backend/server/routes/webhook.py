"""POST /webhook: what happened in Label Studio."""

from __future__ import annotations

import time
from typing import Any

import anyio
import structlog
from fastapi import APIRouter, Request, Response

from backend.jobs.refresh_requests import config_replaced
from backend.jobs.training import is_due, request_training
from backend.labelstudio.events import Event, ProjectUpdated, StartTraining, parse_event
from backend.server.bodies import WebhookBody, parse_object, read_body
from backend.server.edge import json_reply
from backend.server.limits import caller
from backend.server.link import Parts
from backend.server.openapi import json_body
from backend.server.replies import WebhookReply, responses
from backend.server.state import ServerState, state_of

_ACTION_CHARS = 64

log = structlog.get_logger(__name__)
router = APIRouter(tags=["Label Studio"])


@router.post(
    "/webhook",
    summary="Tell an event",
    responses=responses({"model": WebhookReply}, 408, 413, 422, 429, 503),
    openapi_extra=json_body(WebhookBody),
)
async def webhook(request: Request) -> Response:
    """Note the event and answer at once: the annotator who caused it is waiting.

    Annotations and their deletion go into the project's ledger; once enough was accepted a
    training is queued. START_TRAINING queues one at once. PROJECT_UPDATED renews the stored
    labelling configuration, and has the predictions of a trained project made anew by it.
    Any other action is counted, and accepted. `job` names the training that waits or runs,
    for `GET /jobs/{id}`.
    """
    state = state_of(request)
    payload = parse_object(await read_body(request, state.settings))
    event = parse_event(payload)
    action = event.action[:_ACTION_CHARS]
    known = type(event) is not Event
    # Counted by name only if known: a caller's inventions would each open a time series.
    state.metrics.count_webhook(action if known else "other")
    log.info("webhook", action=action, project=event.project_id)
    reply: dict[str, Any] = {"status": "accepted", "action": action, "job": None}
    if not known:
        return json_reply(reply | {"status": "ignored", "reason": "The action is unknown."})
    if event.project_id is None:
        return json_reply(reply | {"status": "ignored", "reason": "The event names no project."})
    if isinstance(event, StartTraining):
        state.limits.tasks.take(caller(request), 1)
    job_id = await anyio.to_thread.run_sync(_note, state, event)
    if job_id is not None:
        # Label Studio stores `job` and needs an object here.
        reply |= {"status": "queued", "job": job_id}
    return json_reply(reply)


def _note(state: ServerState, event: Event) -> str | None:
    """Take in the event; id of the training that waits or runs because of it."""
    parts, project_id = state.link.parts(), str(event.project_id)
    if isinstance(event, StartTraining):
        _renew_config(state, parts, project_id, event.label_config)
        return request_training(parts.redis, state.settings, project_id, time.time(), asked=True)
    if isinstance(event, ProjectUpdated):
        _renew_config(state, parts, project_id, event.label_config)
        return None
    if not parts.ledger.apply(event):
        return None
    if not is_due(parts.ledger.changes(project_id), state.settings):
        return None
    return request_training(parts.redis, state.settings, project_id, time.time())


def _renew_config(state: ServerState, parts: Parts, project_id: str, label_config: str) -> None:
    known = parts.projects.get(project_id)
    if known is None or not label_config or label_config == known.label_config:
        return  # a project that was never set up is not ours
    former = parts.projects.remember_setup(
        known.project_id,
        label_config=label_config,
        extra_params=known.extra_params,
        hostname=known.hostname,
    )
    config_replaced(
        parts.redis, state.settings, known.project_id, former, label_config, time.time()
    )
    log.info("label_config_renewed", project=known.project_id)

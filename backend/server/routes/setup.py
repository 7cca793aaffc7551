"""POST /setup: Label Studio tells a project's configuration and asks for the model version."""

from __future__ import annotations

import time
from typing import Any

import anyio
import structlog
from fastapi import APIRouter, Request, Response

from backend.errors import ConfigError
from backend.jobs.refresh_requests import config_replaced
from backend.server.bodies import SetupBody, parse, read_body
from backend.server.edge import json_reply
from backend.server.limits import caller
from backend.server.openapi import json_body
from backend.server.replies import SetupReply, responses
from backend.server.state import ServerState, state_of

log = structlog.get_logger(__name__)
router = APIRouter(tags=["Label Studio"])


@router.post(
    "/setup",
    summary="Tell a project's labelling configuration",
    responses=responses({"model": SetupReply}, 408, 413, 422, 429, 503),
    openapi_extra=json_body(SetupBody),
)
async def setup(request: Request) -> Response:
    """Remember the project and answer with the version its predictions will carry.

    A labelling configuration that cannot be served is answered with 200 as well, with a
    version no prediction ever carries, and told under `error`, in the log and at /health:
    Label Studio would answer a refusal by not connecting, and show nothing of its text.
    """
    state = state_of(request)
    body = parse(SetupBody, await read_body(request, state.settings))
    state.limits.tasks.take(caller(request), 1)
    content = await anyio.to_thread.run_sync(_setup, state, body, request.state.request_id)
    return json_reply(content)


def _setup(state: ServerState, body: SetupBody, request_id: str) -> dict[str, Any]:
    parts = state.link.parts()
    label_config = body.label_config or ""
    if body.project:
        former = parts.projects.remember_setup(
            body.project,
            label_config=label_config,
            extra_params=body.extra_object(),
            hostname=body.hostname or "",
        )
        # Label Studio calls this and the webhook in any order, and the first one sees it.
        config_replaced(
            parts.redis, state.settings, body.project, former, label_config, time.time()
        )
    try:
        version = parts.dispatcher.model_version(body.project, label_config)
    except ConfigError as error:
        log.warning("project_cannot_be_served", project=body.project, what=error.what)
        state.problems.report(body.project, error)
        told = {"error": error.code, "what": error.what, "remedy": error.remedy}
        return {
            "model_version": f"{state.settings.backbone}-unservable",
            "error": {**told, "request_id": request_id},
        }
    state.problems.solved(body.project)
    log.info("project_set_up", project=body.project, model_version=version)
    return {"model_version": version}

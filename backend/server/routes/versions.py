"""GET /versions: the model versions of all projects."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, Request, Response

from backend.errors import ConfigError
from backend.server.edge import json_reply
from backend.server.link import StoreLink
from backend.server.replies import VersionsReply, responses
from backend.server.state import state_of

router = APIRouter(tags=["Label Studio"])


@router.get(
    "/versions",
    summary="Model versions",
    responses=responses({"model": VersionsReply}, 503),
)
async def versions(request: Request) -> Response:
    """The versions of every project that was set up: the current one, then its other heads."""
    found = await anyio.to_thread.run_sync(_versions, state_of(request).link)
    return json_reply({"versions": found})


def _versions(link: StoreLink) -> list[str]:
    parts = link.parts()
    found: dict[str, None] = {}
    for project_id in parts.projects.all_ids():
        project = parts.projects.get(project_id)
        if project is None:
            continue
        try:
            kept = parts.dispatcher.versions(project_id, project.label_config)
        except ConfigError:
            continue  # /setup and /health tell why it cannot be served
        found |= dict.fromkeys(kept)
    return list(found)

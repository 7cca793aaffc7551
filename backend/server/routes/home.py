"""GET /: the backend at a glance, as a page for people, as JSON for programs."""

from __future__ import annotations

import time
from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response

from backend.errors import StoreUnavailable
from backend.server.board import Board, read_board
from backend.server.csp import page_policy
from backend.server.edge import json_reply
from backend.server.home_page import View, home_style, render_home
from backend.server.overview import Overview, asked, look
from backend.server.replies import HealthReply, responses
from backend.server.routes.health import health_of
from backend.server.state import ServerState, state_of

LIMIT_S = 3.0
"""Time to read what the page shows beside the state; without it the page says so."""

_MOST_SKIPPED = 1_000_000
_TOLD = {
    "queued": "The job is queued again.",
    "gone": "There is no such failed job any more; somebody was faster, or it was forgotten.",
}

router = APIRouter(tags=["state"])

_REFRESH = Query(None, description="Seconds after which a browser reads anew.", ge=5, le=3600)
_MAPS = Query(0, description="1: have the maps of the newest predictions drawn.", ge=0, le=1)
_SKIP = Query(0, description="Projects to leave out.", ge=0, le=_MOST_SKIPPED)
_HTML: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}


@router.get(
    "/",
    summary="The page; programs get what /health says",
    responses=responses({"model": HealthReply, "content": _HTML}, 422),
)
async def home(
    request: Request,
    refresh: int | None = _REFRESH,
    maps: int = _MAPS,
    skip: int = _SKIP,
    told: Literal["queued", "gone"] | None = None,
) -> Response:
    """Projects, versions, queues, workers, recent predictions and failed jobs, for a browser.

    Whoever does not ask for `text/html` gets JSON. Nothing is computed but what `maps` asks.
    """
    state = state_of(request)
    overview = await look(state.link, state.settings.worker_lost_s)
    health = health_of(state, overview)
    if not wants_page(request):
        return json_reply(health, headers={"Vary": "Accept"})
    board, missing = await _board(state, overview, skip)
    page = render_home(
        View(
            health=health,
            overview=overview,
            board=board,
            now_s=time.time(),
            query={"refresh": refresh or 0, "maps": maps, "skip": skip},
            label_studio_url=state.settings.label_studio_url,
            can_explain=state.settings.can_push,
            missing=missing,
            told=_TOLD[told] if told else "",
        )
    )
    headers = {
        "Vary": "Accept",
        "Content-Security-Policy": page_policy(home_style(), own_images=True, own_forms=True),
    }
    if refresh and not told:
        headers["Refresh"] = str(refresh)
    return Response(page, headers=headers, media_type="text/html")


def wants_page(request: Request) -> bool:
    """Whether a browser asks: programs name text/html no more than by ``*/*``."""
    return "text/html" in request.headers.get("accept", "").lower()


async def _board(state: ServerState, overview: Overview, skip: int) -> tuple[Board | None, str]:
    """The board, or why there is none."""
    if overview.refusal is not None:
        return None, "Projects, workers and jobs cannot be told until Redis answers again."
    try:
        return await asked(
            lambda: read_board(state.link.parts(), state.settings, skip), LIMIT_S
        ), ""
    except StoreUnavailable as error:
        return None, f"Projects, workers and jobs cannot be told: {error}"

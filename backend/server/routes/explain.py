"""GET /explain: where a method looks for a label on a task's picture."""

from __future__ import annotations

import time

import anyio
from fastapi import APIRouter, Query, Request, Response

from backend.jobs import wait as waiting
from backend.jobs.explain_requests import (
    ExplainCall,
    ExplainTicket,
    begin_explaining,
    finish_explaining,
)
from backend.server.limits import caller
from backend.server.replies import responses
from backend.server.state import ServerState, state_of
from backend.settings import Settings

_INT64_MAX = 2**63 - 1
_MOST_CHARS = 200

router = APIRouter(tags=["explain"])

_PROJECT = Query(description="Number of the project in Label Studio.", ge=1, le=_INT64_MAX)
_TASK = Query(description="Number of the task in Label Studio.", ge=1, le=_INT64_MAX)
_LABEL = Query(
    "",
    description="A label of the project; without one, whatever the network sees.",
    max_length=_MOST_CHARS,
)
_METHOD = Query(
    "cam",
    description="A saliency method; `python -m backend explain --list` prints their names.",
    pattern=r"^[A-Za-z0-9_+ -]{1,64}$",
)


@router.get(
    "/explain",
    summary="See where a method looks",
    responses=responses(
        {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        404,
        422,
        429,
        502,
        503,
        504,
    ),
    response_class=Response,
)
async def explain(
    request: Request,
    project: int = _PROJECT,
    task: int = _TASK,
    label: str = _LABEL,
    method: str = _METHOD,
) -> Response:
    """The task's picture as PNG, tinted by the method's map, with the boxes it leads to.

    By the project's head where it knows the label, with the options of the label's control.
    A worker draws it, before any other work; what is late goes on and is there for a call
    within five minutes.
    """
    came_at_s = time.monotonic()
    state = state_of(request)
    state.limits.explanations.take(caller(request), 1)
    # A plus sign that was not escaped arrives as a blank, which no method's name holds.
    call = ExplainCall(str(project), task, label, method.replace(" ", "+"))
    ticket = await anyio.to_thread.run_sync(_begin, state, call)
    until_s = came_at_s + _deadline_s(state.settings)
    await waiting.wait(state.link.async_redis(), ticket.watch(), until_s)
    content = await anyio.to_thread.run_sync(_finish, state, ticket)
    return Response(content, media_type="image/png")


def _deadline_s(settings: Settings) -> float:
    # As of /predict: a person waits here too, and nothing is brought to him later.
    return (
        settings.predict_deadline_s
        if settings.can_push
        else settings.predict_deadline_without_key_s
    )


def _begin(state: ServerState, call: ExplainCall) -> ExplainTicket:
    return begin_explaining(state.link.parts().redis, state.settings, call)


def _finish(state: ServerState, ticket: ExplainTicket) -> bytes:
    return finish_explaining(state.link.parts().redis, ticket)

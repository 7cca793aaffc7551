"""/jobs/{id}: what became of a job, calling it off, trying it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import anyio
from fastapi import APIRouter, Path, Request, Response

from backend.errors import JobNotFound
from backend.jobs.enqueue import Dispatcher
from backend.jobs.failed import retry_failed
from backend.jobs.views import JobView
from backend.server.edge import json_reply
from backend.server.replies import JobReply, RetryReply, responses
from backend.server.routes.home import wants_page
from backend.server.state import ServerState, state_of

router = APIRouter(tags=["jobs"])

_RESPONSES = responses({"model": JobReply}, 404, 422, 503)
_ID = Path(
    description="Id of a job, from the header X-Job-Ids of /predict or the reply of /webhook.",
    pattern=r"^[A-Za-z0-9_-]{1,128}$",
)


@router.get("/jobs/{job_id}", summary="A job as it stands", responses=_RESPONSES)
async def show(request: Request, job_id: str = _ID) -> Response:
    """State, progress, outcome, and the reason if it failed."""
    return await _answer(state_of(request), Dispatcher.job, job_id)


@router.delete("/jobs/{job_id}", summary="Call a job off", responses=_RESPONSES)
async def cancel(request: Request, job_id: str = _ID) -> Response:
    """Take the job out of its queue, or stop it; one that has ended stays as it is."""
    return await _answer(state_of(request), Dispatcher.cancel, job_id)


@router.post(
    "/jobs/{job_id}/retry",
    summary="Try a failed job again",
    responses={
        **responses({"model": RetryReply}, 403, 404, 422, 503),
        303: {"description": "The same for a browser: back to the page."},
    },
)
async def retry(request: Request, job_id: str = _ID) -> Response:
    """Queue a job anew that failed and was kept with its reason."""
    state = state_of(request)
    done = await anyio.to_thread.run_sync(lambda: retry_failed(state.link.parts().redis, job_id))
    if wants_page(request):
        # Relative to this address: a proxy may serve all of it under a path of its own.
        where = f"../../?told={'queued' if done else 'gone'}#failed"
        return Response(status_code=303, headers={"Location": where})
    if not done:
        raise JobNotFound(
            f"No job {job_id!r} has failed.", "GET / lists those that did; they are kept for days."
        )
    return json_reply({"id": job_id, "status": "queued"})


async def _answer(
    state: ServerState, action: Callable[[Dispatcher, str], JobView], job_id: str
) -> Response:
    view = await anyio.to_thread.run_sync(lambda: action(state.link.parts().dispatcher, job_id))
    return json_reply(asdict(view))

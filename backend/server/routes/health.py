"""GET /health and /healthz: how the backend is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from backend import __version__
from backend.jobs.versions import backbone_identity
from backend.server.edge import json_reply
from backend.server.overview import Overview, look
from backend.server.replies import AliveReply, HealthReply, responses
from backend.server.state import ServerState, state_of
from backend.vision.choice import hint

router = APIRouter(tags=["state"])


@router.get("/health", summary="State at a glance", responses=responses({"model": HealthReply}))
async def health(request: Request) -> Response:
    """Whether workers live, how much waits, which model answers.

    The HTTP status is 200 as long as the process lives: Label Studio drops a backend whose
    /health is anything else, and a backend without workers still queues and caches.
    """
    state = state_of(request)
    return json_reply(health_of(state, await look(state.link, state.settings.worker_lost_s)))


@router.get(
    "/healthz",
    summary="Liveness probe",
    responses=responses({"model": AliveReply}, guarded=False),
)
async def healthz() -> Response:
    """The process lives; asks nothing and nobody, needs no credentials."""
    return json_reply({"status": "UP"})


def health_of(state: ServerState, overview: Overview) -> dict[str, Any]:
    """The members of a HealthReply."""
    identity = overview.identity
    running = backbone_identity(state.settings, identity).name
    ready = [worker for worker in overview.workers if worker.state == "ready"]
    devices = sorted({worker.device for worker in ready})
    return {
        "status": overview.status(),
        "version": __version__,
        "workers": {"alive": len(overview.workers), "states": overview.states()},
        "trainers": len(overview.training),
        "queues": overview.queues,
        "device": ", ".join(devices) or None,
        "runtimes": {worker.name: worker.runtime for worker in ready},
        "backbone": running,
        "hint": hint(running),
        "model": None
        if identity is None
        else {
            "name": identity.name,
            "digest": identity.digest,
            "size_px": identity.size_px,
            "classes": len(identity.classes),
            "source": identity.source,
        },
        "problems": state.problems.as_list(),
    }

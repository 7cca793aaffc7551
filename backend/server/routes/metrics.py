"""GET /metrics: counts and times for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from backend.server.metrics import CONTENT_TYPE
from backend.server.overview import look
from backend.server.replies import responses
from backend.server.state import state_of

router = APIRouter(tags=["state"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses=responses({"content": {"text/plain": {"schema": {"type": "string"}}}}),
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Requests, latencies, queues, workers, and what the workers counted."""
    state = state_of(request)
    overview = await look(state.link, state.settings.worker_lost_s, with_tallies=True)
    return Response(state.metrics.render(overview), headers={"Content-Type": CONTENT_TYPE})

"""GET /docs: the routes for people."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from backend.server.pages import render_docs
from backend.server.replies import responses

router = APIRouter(tags=["documentation"])


@router.get(
    "/docs",
    summary="This page",
    responses=responses({"content": {"text/html": {"schema": {"type": "string"}}}}),
    response_class=Response,
)
async def docs(request: Request) -> Response:
    """Every route with its body and its replies; /openapi.json has the same for programs."""
    return Response(render_docs(request.app.openapi()), media_type="text/html")

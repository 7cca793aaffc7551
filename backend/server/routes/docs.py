"""GET /docs: the routes for people."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from backend.server.csp import page_policy
from backend.server.pages import STYLE, render_docs
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
    page = render_docs(request.app.openapi())
    policy = {"Content-Security-Policy": page_policy(STYLE)}
    return Response(page, headers=policy, media_type="text/html")

"""The application: routes, middleware, what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware

from backend import __version__
from backend.server import edge
from backend.server.access import Access
from backend.server.auth import BasicAuth
from backend.server.limits import Limits
from backend.server.link import StoreLink
from backend.server.metrics import ServerMetrics
from backend.server.overview import look
from backend.server.routes import (
    docs,
    explain,
    health,
    home,
    jobs,
    metrics,
    predict,
    setup,
    versions,
    webhook,
)
from backend.server.same_origin import SameOrigin
from backend.server.state import ServerState
from backend.settings import Settings

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application; nothing is opened before its lifespan begins.

    settings.redis_url names the Redis. If it is away the application starts nevertheless,
    says DEGRADED, and recovers by itself.
    """
    state = ServerState(settings, StoreLink(settings), ServerMetrics(), Limits(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Connects already, so that the first call finds it done.
        overview = await look(state.link, settings.worker_lost_s)
        log.info("server_started", version=__version__, status=overview.status())
        try:
            yield
        finally:
            await state.link.aclose()

    app = FastAPI(
        title="Label Studio saliency backend",
        version=__version__,
        description="Pre-annotates Label Studio tasks with saliency maps.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Access, metrics=state.metrics),
            Middleware(BasicAuth, settings=settings),
            Middleware(SameOrigin),
        ],
    )
    app.state.server = state
    edge.install(app)
    for module in (home, health, setup, predict, webhook, versions, explain, jobs, metrics, docs):
        app.include_router(module.router)
    return app

"""What surrounds every request: its id, its log line, its count, the last resort.

A plain ASGI middleware: Starlette's BaseHTTPMiddleware costs a task a request.
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.server.csp import NOTHING
from backend.server.edge import error_reply
from backend.server.metrics import ServerMetrics

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
_QUIET = frozenset({"/health", "/healthz", "/metrics"})
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": NOTHING,
    "Cache-Control": "no-store",
}

log = structlog.get_logger(__name__)


class Access:
    """ASGI middleware, the outermost of ours."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever it raises becomes a 500 without internals."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id", ""))
        scope.setdefault("state", {})["request_id"] = request_id
        started_s = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_on)
            except Exception:
                log.exception("request_failed", path=scope["path"])
                if status:  # the reply has begun; breaking it off is all that is left
                    raise
                reply = error_reply(
                    "internal",
                    "The backend failed on this request.",
                    "Look up the request id in the server's log, where the reason stands.",
                    request_id,
                    500,
                )
                await reply(scope, receive, send_on)
            finally:
                took_s = time.perf_counter() - started_s
                # Callers invent methods; each would open a time series.
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.observe(_route(scope), method, status, took_s)
                quiet = scope["path"] in _QUIET and status < 400
                (log.debug if quiet else log.info)(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(took_s * 1000, 1),
                )


def _request_id(given: str) -> str:
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    # The template, not the path: /jobs/{job_id} is one time series, not one a job.
    return str(getattr(scope.get("route"), "path", "unmatched"))

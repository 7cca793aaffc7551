"""Errors on their way out: one shape for all of them.

``{"error": code, "what": …, "remedy": …, "request_id": …}``, never a traceback. Label Studio
shows none of it; people with curl, and whoever looks up the request id in the log, do.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pydantic_core
import redis.exceptions
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from backend.errors import BackendError, RequestError, StoreUnavailable, TooManyCalls
from backend.server.bodies import described

log = structlog.get_logger(__name__)


def json_reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; NaN and infinities, which JSON has not, become null."""
    body = pydantic_core.to_json(content, inf_nan_mode="null")
    return Response(body, status, headers, media_type="application/json")


def error_reply(code: str, what: str, remedy: str, request_id: str, status: int) -> Response:
    """The one shape of a refusal."""
    content = {"error": code, "what": what, "remedy": remedy, "request_id": request_id}
    return json_reply(content, status)


def redis_refusal(error: redis.exceptions.RedisError) -> StoreUnavailable:
    """What a caller is told of a failed Redis command; the details stay in the log."""
    return StoreUnavailable(
        f"Redis does not answer ({type(error).__name__}).",
        "Start Redis again, or correct REDIS_URL; the backend recovers by itself.",
    )


def install(app: FastAPI) -> None:
    """Make the application answer its errors in this shape."""
    app.add_exception_handler(BackendError, _backend_error)
    app.add_exception_handler(redis.exceptions.RedisError, _redis_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)


async def _backend_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, BackendError):
        raise error
    log.warning("request_refused", error=error.code, what=error.what)
    reply = error_reply(
        error.code, error.what, error.remedy, request.state.request_id, error.status
    )
    if isinstance(error, TooManyCalls):
        reply.headers["Retry-After"] = str(error.retry_after_s)
    return reply


async def _redis_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, redis.exceptions.RedisError):
        raise error
    log.warning("redis_failed", reason=str(error))
    return await _backend_error(request, redis_refusal(error))


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    refusal = RequestError(described(error.errors()), "GET /docs shows what is expected.")
    return await _backend_error(request, refusal)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    reply = error_reply(
        status.name.lower(),
        f"{request.method} {request.url.path}: {status.phrase}.",
        "GET /docs lists the routes.",
        request.state.request_id,
        status.value,
    )
    reply.headers.update(error.headers or {})
    return reply

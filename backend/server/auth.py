"""Basic authentication, if credentials are set."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.server.edge import error_reply
from backend.settings import Settings

OPEN_PATH = "/healthz"
"""The one path without credentials: a liveness probe knows none."""

CHALLENGE = 'Basic realm="label-studio backend", charset="UTF-8"'


class BasicAuth:
    """ASGI middleware that lets through who knows BASIC_AUTH_USER and BASIC_AUTH_PASS."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        user, password = settings.basic_auth_user, settings.basic_auth_pass.get_secret_value()
        self._expected = _digest(f"{user}:{password}".encode()) if user else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if (
            scope["type"] != "http"
            or self._expected is None
            or scope["path"] == OPEN_PATH
            or self._knows(Headers(scope=scope).get("authorization", ""))
        ):
            await self._app(scope, receive, send)
            return
        reply = error_reply(
            "unauthorized",
            "This backend asks for a user name and a password.",
            "Put them into the backend's address in Label Studio, "
            "http://user:password@host:9090, or into its Basic authentication fields.",
            scope["state"]["request_id"],
            401,
        )
        reply.headers["WWW-Authenticate"] = CHALLENGE
        await reply(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):  # ValueError: not ASCII
            given = b""
        # Digests are of one length, and the comparison is made even for a wrong scheme: the
        # time tells neither how long the password is nor how much of a guess was right.
        same = secrets.compare_digest(_digest(given), self._expected or b"")
        return same and scheme.lower() == "basic"


def _digest(credentials: bytes) -> bytes:
    return hashlib.sha256(credentials).digest()

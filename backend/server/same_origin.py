"""Calls that change something are not taken from other sites' pages.

A browser sends the user's password along with what any page makes it post. It also says
where the call comes from, which programs such as Label Studio do not.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.server.edge import error_reply

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})


class SameOrigin:
    """ASGI middleware that refuses what a page of another origin posts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http" or scope["method"] in _READING or not _foreign(scope):
            await self._app(scope, receive, send)
            return
        reply = error_reply(
            "cross_site",
            "A page of another site sent this call.",
            "Make it from the backend's own page, or without a browser. Behind a proxy, have "
            "the proxy hand on the Host header.",
            scope["state"]["request_id"],
            403,
        )
        await reply(scope, receive, send)


def _foreign(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    # Browsers leave the header above out where the address is neither https nor localhost.
    origin = headers.get("origin")
    if origin is None:
        return False
    return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()

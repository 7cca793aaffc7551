"""Opening Redis, with a check that its data is of our schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from backend.errors import StoreUnavailable
from backend.store import keys

_CONNECT_TIMEOUT_S = 5.0
_RETRIES = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def connect(url: str) -> redis.Redis:
    """A client that answered a PING and whose data has our schema number.

    url: redis://, rediss:// or unix://. Replies are bytes. Blocking calls may block for
    ever (no socket timeout), because waiting for jobs is done by blocking reads.
    Raises: StoreUnavailable.
    """
    client = redis.Redis.from_url(url, retry=Retry(_backoff(), _RETRIES), **_options(url))
    try:
        client.ping()
        found = _schema_number(client)
    except redis.RedisError as error:
        client.close()
        raise unavailable(url, error) from error
    if found != str(keys.SCHEMA).encode():
        client.close()
        raise StoreUnavailable(
            f"Redis at {_without_password(url)} holds data of schema "
            f"{found.decode(errors='replace')}, this version reads schema {keys.SCHEMA}.",
            "Run the version that wrote it, or give this one an empty Redis: another "
            "database number in REDIS_URL, or another DATA_DIR.",
        )
    return client


def connect_async(url: str) -> redis.asyncio.Redis:
    """The same client for asyncio; nothing is sent yet, ``connect`` has checked the schema."""
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url, retry=AsyncRetry(_backoff(), _RETRIES), **_options(url)
    )
    return client


def unavailable(url: str, error: redis.RedisError) -> StoreUnavailable:
    """The error to raise, without the password that url may hold."""
    return StoreUnavailable(
        f"Redis at {_without_password(url)} cannot be used: {error}.",
        "Check that it runs and that REDIS_URL is right; without REDIS_URL "
        "`python -m backend up` brings its own.",
    )


def _schema_number(client: redis.Redis) -> bytes:
    # SET NX first: of two processes at an empty Redis one writes, both read the same.
    client.set(keys.SCHEMA_KEY, keys.SCHEMA, nx=True)
    found: Any = client.get(keys.SCHEMA_KEY)
    return bytes(found or b"")


def _options(url: str) -> dict[str, Any]:
    common: dict[str, Any] = {"decode_responses": False, "socket_timeout": None}
    if url.startswith("unix:"):
        return common
    return {**common, "socket_connect_timeout": _CONNECT_TIMEOUT_S, "socket_keepalive": True}


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=_LONGEST_PAUSE_S, base=_FIRST_PAUSE_S)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.port:
        host = f"{host}:{parts.port}"
    return f"{parts.scheme}://{host}{parts.path}"

"""Opening Redis, whose data is then of our schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from backend.errors import StoreUnavailable
from backend.store.migrations import bring_up, connection_name

_CONNECT_TIMEOUT_S = 5.0
_RETRIES = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def connect(url: str, *, reply_s: float | None = None) -> redis.Redis:
    """A client that answered a PING and whose data is of our schema, migrated where it was older.

    url: redis://, rediss:// or unix://. Replies are bytes. Blocking calls may block for
    ever, because waiting for jobs is done by blocking reads. reply_s: silence after which a
    command fails with redis.TimeoutError instead, for who never blocks and has a deadline.
    Raises: StoreUnavailable; data of a newer schema is left as it is.
    """
    # A connection that broke is worth another try; a Redis that is silent is not asked again.
    retry = Retry(_backoff(), _RETRIES, supported_errors=(redis.ConnectionError,))
    client = redis.Redis.from_url(url, retry=retry, **_options(url) | {"socket_timeout": reply_s})
    try:
        client.ping()
        bring_up(client, without_password(url))
    except redis.RedisError as error:
        client.close()
        raise unavailable(url, error) from error
    except StoreUnavailable:
        client.close()
        raise
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
        f"Redis at {without_password(url)} cannot be used: {error}.",
        "Check that it runs and that REDIS_URL is right; without REDIS_URL "
        "`python -m backend up` brings its own.",
    )


def _options(url: str) -> dict[str, Any]:
    common: dict[str, Any] = {
        "decode_responses": False,
        "socket_timeout": None,
        # Whoever migrates sees by it who still works on data of another schema.
        "client_name": connection_name(),
    }
    if url.startswith("unix:"):
        return common
    return {**common, "socket_connect_timeout": _CONNECT_TIMEOUT_S, "socket_keepalive": True}


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=_LONGEST_PAUSE_S, base=_FIRST_PAUSE_S)


def without_password(url: str) -> str:
    """The address as it may be told."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.port:
        host = f"{host}:{parts.port}"
    return f"{parts.scheme}://{host}{parts.path}"

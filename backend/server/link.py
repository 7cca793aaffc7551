"""The connection to Redis, opened late if need be.

Redis may be away when the server starts, or go away later. The server lives on: every call
that needs Redis tries again (at most once a second) or is refused with what to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
import redis.asyncio
import structlog

from backend.errors import StoreUnavailable
from backend.jobs.enqueue import Dispatcher
from backend.jobs.sync_requests import request_syncs
from backend.learning.ledger import Ledger
from backend.settings import Settings
from backend.store.connection import connect, connect_async
from backend.store.counters import Counters
from backend.store.fleet import Fleet
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore

REPLY_S = 3.0
"""Silence after which Redis counts as hanging, so that a call can still be refused in time."""

RETRY_S = 1.0
"""Least time between two attempts to reach a Redis that was away."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands on one Redis connection."""

    redis: redis.Redis
    dispatcher: Dispatcher
    projects: ProjectStore
    fleet: Fleet
    counters: Counters
    ledger: Ledger


class StoreLink:
    """Gives the parts that need Redis, connecting when first asked."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._async_redis: redis.asyncio.Redis | None = None
        self._refusal: StoreUnavailable | None = None
        self._refused_at_s = 0.0

    def parts(self) -> Parts:
        """The parts; blocks while connecting, so call it in a thread.

        Raises: StoreUnavailable.
        """
        if self._parts is not None:
            return self._parts
        # One thread tries; a second one is not worth more than a second of waiting.
        if not self._lock.acquire(timeout=RETRY_S):
            raise StoreUnavailable("Redis is still being connected to.", "Try again in a second.")
        try:
            if self._parts is None:
                self._parts = self._connect()
            return self._parts
        finally:
            self._lock.release()

    def async_redis(self) -> redis.asyncio.Redis:
        """The connection for waiting; call it on the event loop that will use it."""
        if self._async_redis is None:
            self._async_redis = connect_async(self._settings.redis_url)
        return self._async_redis

    async def aclose(self) -> None:
        """Close both connections."""
        if self._async_redis is not None:
            await self._async_redis.aclose()
        if self._parts is not None:
            self._parts.redis.close()

    def _connect(self) -> Parts:
        if self._refusal is not None and self._clock() - self._refused_at_s < RETRY_S:
            raise self._refusal
        try:
            connection = connect(self._settings.redis_url, reply_s=REPLY_S)
        except StoreUnavailable as error:
            self._refusal, self._refused_at_s = error, self._clock()
            raise
        log.info("redis_connected")
        # Label Studio tells a change once: those of the time when no server ran are lost.
        request_syncs(connection, self._settings, time.time())
        return Parts(
            redis=connection,
            dispatcher=Dispatcher(self._settings, connection),
            projects=ProjectStore(connection),
            fleet=Fleet(connection),
            counters=Counters(connection),
            ledger=Ledger(LedgerStore(connection)),
        )

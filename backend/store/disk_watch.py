"""Keeps the embedded Redis answering while its disk is full.

Redis refuses every change once its append-only file cannot grow, so that nothing could be
queued or predicted. Then, and where possible a little before, it is told to go on in memory
and leave the file as it is; once there is room again it writes all it holds into a new one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import structlog

from backend.store import keys

log = structlog.get_logger(__name__)

RESERVE_BYTES = 16 << 20
"""Room below which Redis goes on in memory; of twice as much it makes use again."""

_LOOK_S = 0.25
_SAY_S = 60.0
_NOTICE_S = 10


class DiskWatch:
    """Watches the disk of a Redis that keeps an append-only file. steady_s: only grows.

    folder: where that file is. free_bytes: how much room there is.
    """

    def __init__(
        self,
        connection: redis.Redis,
        folder: Path,
        *,
        steady_s: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._redis = connection
        self._folder = folder
        self._steady_s = steady_s
        self._free_bytes = free_bytes
        self._next_look_s = self._next_word_s = 0.0
        self._in_memory = self._returning = False

    def look(self) -> None:
        """Do what is due; call it as often as you like. Raises: RedisError."""
        now_s = self._steady_s()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _LOOK_S
        state: Any = self._redis.info("persistence")
        free_bytes = self._free_bytes(self._folder)
        if self._returning:
            self._see_return(state)
        elif self._in_memory:
            used: Any = self._redis.info("memory")
            if free_bytes >= 2 * RESERVE_BYTES + used["used_memory"]:
                self._redis.config_set("appendonly", "yes")
                self._returning = True
        elif state["aof_last_write_status"] != "ok" or free_bytes < RESERVE_BYTES:
            self._redis.config_set("appendonly", "no")
            self._in_memory = True
        if self._in_memory:
            self._tell(free_bytes, now_s)

    def _see_return(self, state: Any) -> None:
        if state["aof_rewrite_in_progress"]:
            return
        if state["aof_last_bgrewrite_status"] != "ok":
            # Redis would try ten times a second; we try when there is room.
            self._redis.config_set("appendonly", "no")
            self._returning = False
            return
        if state["aof_rewrite_scheduled"]:
            return
        self._returning = self._in_memory = False
        self._redis.delete(keys.disk_full())
        log.info("redis_on_disk_again", folder=str(self._folder))

    def _tell(self, free_bytes: int, now_s: float) -> None:
        told = (
            f"The disk of {self._folder} is full ({free_bytes >> 20} MiB free): what changes is "
            "in memory alone, and lost should Redis end. Make room; it is written then."
        )
        self._redis.set(keys.disk_full(), told, ex=_NOTICE_S)
        if now_s >= self._next_word_s:
            self._next_word_s = now_s + _SAY_S
            log.error("redis_disk_full", reason=told)


def disk_notice(connection: redis.Redis) -> str:
    """What users should know of the disk; "" where all is well."""
    found: Any = connection.get(keys.disk_full())
    return "" if found is None else found.decode()

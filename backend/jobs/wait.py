"""Waiting for jobs on RQ's own result streams.

A worker appends one entry to ``rq:results:<job id>`` when a job ends. A blocking XREAD over
the streams of all awaited jobs wakes within a millisecond of the first entry, needs no
code in the job and sees entries written before it began to read, so nothing is polled and
nothing is missed. What to do with an entry is decided by ``Watch``, which knows no clock
and no connection; the two loops below only differ in ``await``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import redis
import redis.asyncio

_AWAY_S = 0.25  # between two attempts at a Redis that is away
_LATE_S = 0.2  # a Redis that hangs does not end a blocking read by itself

_STREAM_START = "0-0"
_RETRIED = b"4"  # rq.results.Result.Type.RETRIED: the job runs again, more entries follow


def result_stream(job_id: str) -> str:
    """Name of the stream on which RQ reports the end of a job."""
    return f"rq:results:{job_id}"


@dataclass(frozen=True, slots=True)
class Watch:
    """Which jobs are awaited, and for how many tasks.

    tasks_of: tasks of the call by the id of the running job that does them.
    enough: finished tasks after which waiting ends; None waits for all.
    done: tasks whose job has ended so far.
    last_id: last entry read by job id, where one was read.
    """

    tasks_of: Mapping[str, int]
    enough: int | None = None
    done: int = 0
    last_id: Mapping[str, str] | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self.tasks_of or (self.enough is not None and self.done >= self.enough)

    def streams(self) -> dict[Any, Any]:
        """Stream name -> entry id after which to read."""
        last = self.last_id or {}
        return {result_stream(job): last.get(job, _STREAM_START) for job in self.tasks_of}

    def after(self, reply: Any) -> Watch:
        """The watch once these entries (an XREAD reply) were read."""
        tasks_of, last, done = dict(self.tasks_of), dict(self.last_id or {}), self.done
        for stream, entries in _pairs(reply):
            job_id = _text(stream).removeprefix(result_stream(""))
            for entry_id, fields in entries:
                last[job_id] = _text(entry_id)
                if fields.get(b"type") != _RETRIED:
                    done += tasks_of.pop(job_id, 0)
        return replace(self, tasks_of=tasks_of, last_id=last, done=done)

    def block_ms(self, remaining_s: float) -> int | None:
        """How long the next read may block; None: stop waiting."""
        if self.over or remaining_s <= 0:
            return None
        return max(1, int(remaining_s * 1000))


def wait_blocking(connection: redis.Redis, watch: Watch, until_s: float) -> Watch:
    """Wait in this thread until the watch is over or ``time.monotonic()`` passes until_s.

    A Redis that goes away is waited for as well: it comes back with the jobs it had.
    """
    while (block := watch.block_ms(until_s - time.monotonic())) is not None:
        try:
            watch = watch.after(connection.xread(watch.streams(), block=block))
        except redis.ConnectionError:
            time.sleep(min(_AWAY_S, block / 1000))
    return watch


async def wait(connection: redis.asyncio.Redis, watch: Watch, until_s: float) -> Watch:
    """The same without blocking the event loop; on time also where Redis hangs."""
    while (block := watch.block_ms(until_s - time.monotonic())) is not None:
        read = connection.xread(watch.streams(), block=block)
        try:
            watch = watch.after(await asyncio.wait_for(read, block / 1000 + _LATE_S))
        except asyncio.TimeoutError:
            continue
        except redis.ConnectionError:
            await asyncio.sleep(min(_AWAY_S, block / 1000))
    return watch


def _pairs(reply: Any) -> list[tuple[Any, Any]]:
    # RESP2 gives [[stream, entries]], RESP3 {stream: [entries]}; None or empty: timed out.
    if not reply:
        return []
    if isinstance(reply, Mapping):
        return [(stream, lists[0] if lists else []) for stream, lists in reply.items()]
    return [(stream, entries) for stream, entries in reply]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

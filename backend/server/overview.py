"""The state of the backend at a glance: Redis, workers, queues.

/health and /metrics show it. It has to come at once even while Redis hangs: Label Studio
gives /health one second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import redis.exceptions

from backend.domain import BackboneIdentity
from backend.errors import StoreUnavailable
from backend.jobs.queues import ALL_QUEUES, failed_count, queue
from backend.server.edge import redis_refusal
from backend.server.link import Parts, StoreLink
from backend.store.acceptance import Acceptance, AcceptanceStore, together
from backend.store.counters import CounterKey
from backend.store.deliveries import Deliveries
from backend.store.disk_watch import disk_notice
from backend.store.fleet import WorkerInfo

LIMIT_S = 0.4
"""Silence after which Redis counts as unreachable."""

_MOST_REASONS = 3

T = TypeVar("T")

# Looks that hang on a silent Redis may not use up the threads that serve predictions.
_THREADS = anyio.CapacityLimiter(4)


@dataclass(frozen=True, slots=True)
class Tallies:
    """What has been counted so far.

    counters: of all machines. failed: jobs that wait for somebody to try them again, by
    queue. to_push: predictions that Label Studio has not taken yet. acceptance: of all
    projects together.
    """

    counters: Mapping[CounterKey, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    to_push: int = 0
    acceptance: Acceptance = field(default_factory=Acceptance)


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at the backend.

    workers: those heard of lately that predict. training: those that train. queues:
    waiting jobs by queue. notice: what is wrong with the disk of our own Redis, if anything.
    refusal: why Redis could not be asked, if so; all else is then empty. tallies: only where
    they were asked for.
    """

    workers: tuple[WorkerInfo, ...] = ()
    training: tuple[WorkerInfo, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    identity: BackboneIdentity | None = None
    tallies: Tallies | None = None
    notice: str = ""
    refusal: StoreUnavailable | None = None

    def states(self) -> dict[str, int]:
        """Living workers that predict, by state."""
        return states_of(self.workers)

    def status(self) -> str:
        """``UP``, or ``DEGRADED:`` with the reason in words."""
        if self.refusal is not None:
            return f"DEGRADED: {self.refusal}"
        states = self.states()
        if not self.workers:
            return (
                "DEGRADED: no worker is alive, tasks wait in the queue. "
                "Start one with `python -m backend worker`."
            )
        if states["failed"]:
            reasons = [w.reason for w in self.workers if w.state == "failed" and w.reason]
            told = "; ".join(list(dict.fromkeys(reasons))[:_MOST_REASONS]) or "see its log"
            return f"DEGRADED: {states['failed']} of {len(self.workers)} workers failed: {told}"
        if not states["ready"]:
            return "DEGRADED: no worker is ready yet, the model is being loaded."
        return f"DEGRADED: {self.notice}" if self.notice else "UP"


async def look(link: StoreLink, lost_s: float, *, with_tallies: bool = False) -> Overview:
    """A look at the backend within LIMIT_S; a Redis that cannot be asked is told, not raised.

    lost_s: silence after which a worker is not alive.
    """
    try:
        return await asked(lambda: _look(link, lost_s, with_tallies), LIMIT_S)
    except StoreUnavailable as error:
        return Overview(refusal=error)


async def asked(work: Callable[[], T], limit_s: float) -> T:
    """What work, which asks Redis, returns from a thread.

    Raises: StoreUnavailable where Redis refuses, or is silent for longer than limit_s.
    """
    try:
        with anyio.fail_after(limit_s):
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=_THREADS)
    except TimeoutError:
        raise StoreUnavailable(
            f"Redis has not answered for {limit_s} s.", "See whether it hangs or is overloaded."
        ) from None
    except redis.exceptions.RedisError as error:
        raise redis_refusal(error) from error


def states_of(workers: Iterable[WorkerInfo]) -> dict[str, int]:
    """How many are in each state."""
    counts = {"ready": 0, "starting": 0, "failed": 0}
    for worker in workers:
        counts[worker.state] = counts.get(worker.state, 0) + 1
    return counts


def _look(link: StoreLink, lost_s: float, with_tallies: bool) -> Overview:
    parts = link.parts()
    alive = parts.fleet.alive(lost_s)
    return Overview(
        workers=tuple(worker for worker in alive if worker.kind == "predict"),
        training=tuple(worker for worker in alive if worker.kind == "train"),
        queues={name: int(queue(parts.redis, name).count) for name in ALL_QUEUES},
        identity=parts.fleet.identity(),
        tallies=_tallies(parts) if with_tallies else None,
        notice=disk_notice(parts.redis),
    )


def _tallies(parts: Parts) -> Tallies:
    deliveries = Deliveries(parts.redis)
    projects = deliveries.projects_with_pending()
    counted = AcceptanceStore(parts.redis).read()
    return Tallies(
        counters=parts.counters.read(),
        failed={name: failed_count(parts.redis, name) for name in ALL_QUEUES},
        to_push=sum(deliveries.pending_count(project_id) for project_id in projects),
        acceptance=together(one for project in counted.values() for one in project.versions),
    )

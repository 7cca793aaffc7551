"""The state of the backend at a glance: Redis, workers, queues.

/health and /metrics show it. It has to come at once even while Redis hangs: Label Studio
gives /health one second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import redis.exceptions

from backend.domain import BackboneIdentity
from backend.errors import StoreUnavailable
from backend.jobs.queues import ALL_QUEUES, queue
from backend.server.edge import redis_refusal
from backend.server.link import StoreLink
from backend.store.counters import CounterKey
from backend.store.fleet import WorkerInfo

LIMIT_S = 0.4
"""Silence after which Redis counts as unreachable."""

_MOST_REASONS = 3

# Looks that hang on a silent Redis may not use up the threads that serve predictions.
_THREADS = anyio.CapacityLimiter(4)


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at the backend.

    workers: those heard of lately that predict. trainers: how many train. queues: waiting
    jobs by queue. counters: what workers counted. refusal: why Redis could not be asked,
    if so; all else is then empty.
    """

    workers: tuple[WorkerInfo, ...] = ()
    trainers: int = 0
    queues: Mapping[str, int] = field(default_factory=dict)
    identity: BackboneIdentity | None = None
    counters: Mapping[CounterKey, int] = field(default_factory=dict)
    refusal: StoreUnavailable | None = None

    def states(self) -> dict[str, int]:
        """Living workers by state."""
        counts = {"ready": 0, "starting": 0, "failed": 0}
        for worker in self.workers:
            counts[worker.state] = counts.get(worker.state, 0) + 1
        return counts

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
        return "UP"


async def look(link: StoreLink, lost_s: float, *, with_counters: bool = False) -> Overview:
    """A look at the backend within LIMIT_S; a Redis that cannot be asked is told, not raised.

    lost_s: silence after which a worker is not alive.
    """
    try:
        with anyio.fail_after(LIMIT_S):
            return await anyio.to_thread.run_sync(
                _look, link, lost_s, with_counters, abandon_on_cancel=True, limiter=_THREADS
            )
    except TimeoutError:
        return Overview(
            refusal=StoreUnavailable(
                f"Redis has not answered for {LIMIT_S} s.", "See whether it hangs or is overloaded."
            )
        )
    except StoreUnavailable as error:
        return Overview(refusal=error)
    except redis.exceptions.RedisError as error:
        return Overview(refusal=redis_refusal(error))


def _look(link: StoreLink, lost_s: float, with_counters: bool) -> Overview:
    parts = link.parts()
    alive = parts.fleet.alive(lost_s)
    return Overview(
        workers=tuple(worker for worker in alive if worker.kind == "predict"),
        trainers=sum(worker.kind == "train" for worker in alive),
        queues={name: int(queue(parts.redis, name).count) for name in ALL_QUEUES},
        identity=parts.fleet.identity(),
        counters=parts.counters.read() if with_counters else {},
    )

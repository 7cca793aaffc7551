"""Who works: signs of life of all workers, and what they loaded.

Times are Redis's own, so that machines with wrong clocks agree on who is silent.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import redis

from backend.domain import BackboneIdentity
from backend.store import keys

WorkerState = Literal["starting", "ready", "failed"]
WorkerKind = Literal["predict", "train"]

_BEAT = """
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[1], clock[1] + clock[2] / 1000000, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
"""

_ALIVE = """
local clock = redis.call('TIME')
local since_s = clock[1] + clock[2] / 1000000 - ARGV[1]
local infos = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], since_s, '+inf')) do
  infos[#infos + 1] = redis.call('HGET', KEYS[2], name)
end
return infos
"""


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker tells with each beat.

    name: unique, also its name in RQ. backbone: registry name, "" before it is loaded.
    reason: why its state is ``failed``, else "". jobs_done: since it started.
    kind: which queues it empties. runtime: what computes its forward pass, in which
    precision, as ``openvino float32``; "" before it is ready.
    """

    name: str
    host: str
    pid: int
    device: str
    backbone: str
    state: WorkerState
    reason: str = ""
    jobs_done: int = 0
    kind: WorkerKind = "predict"
    runtime: str = ""


class Fleet:
    """All workers on this Redis."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._where = [keys.fleet_beats(), keys.fleet_infos()]
        self._beat = connection.register_script(_BEAT)
        self._alive = connection.register_script(_ALIVE)

    def beat(self, worker: WorkerInfo) -> None:
        """Say that this worker lives; one round trip."""
        self._beat(keys=self._where, args=[worker.name, json.dumps(asdict(worker))])

    def forget(self, name: str) -> None:
        """Strike a worker off, once it has ended or its jobs were taken over."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(keys.fleet_beats(), name)
            pipe.hdel(keys.fleet_infos(), name)
            pipe.execute()

    def alive(self, within_s: float, kind: WorkerKind | None = None) -> list[WorkerInfo]:
        """Workers heard within the last seconds, longest silence first; one round trip.

        kind: only those that do such jobs.
        """
        found: Any = self._alive(keys=self._where, args=[within_s])
        infos = [WorkerInfo(**json.loads(text)) for text in found]
        return [info for info in infos if kind is None or info.kind == kind]

    def beats(self) -> dict[str, float]:
        """When each worker that was not forgotten was heard last; one round trip."""
        found: Any = self._redis.zrange(keys.fleet_beats(), 0, -1, withscores=True)
        return {name.decode(): float(at_s) for name, at_s in found}

    def publish_identity(self, identity: BackboneIdentity, *, unless_told: bool = False) -> None:
        """Tell what the workers loaded. unless_told: only where nothing is known."""
        self._redis.set(keys.backbone_identity(), json.dumps(asdict(identity)), nx=unless_told)

    def identity(self) -> BackboneIdentity | None:
        """What the workers loaded, None before the first one was ready."""
        found: Any = self._redis.get(keys.backbone_identity())
        if found is None:
            return None
        fields = json.loads(found)
        return BackboneIdentity(**{**fields, "classes": tuple(fields["classes"])})

"""Counters that several processes add to.

One of them is also kept by minute, so that whoever looks once can tell how fast work goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from backend.store import keys

CounterKey = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name with its labels, sorted by label."""

PACED = "pictures"
"""The counter that is also kept by minute."""

PACE_MINUTES = 30
"""Whole minutes that are kept."""

_STEP = """
-- KEYS: counts by minute. ARGV: amount, minutes kept. Redis's own clock: machines differ.
local minute = math.floor(redis.call('TIME')[1] / 60)
redis.call('HINCRBY', KEYS[1], minute, ARGV[1])
for _, old in ipairs(redis.call('HKEYS', KEYS[1])) do
  if tonumber(old) < minute - ARGV[2] then redis.call('HDEL', KEYS[1], old) end
end
"""

_PACE = """
-- KEYS: counts by minute. ARGV: minutes wanted. Oldest first, without the one that runs.
local minute = math.floor(redis.call('TIME')[1] / 60)
local counts = {}
for ago = ARGV[1], 1, -1 do
  counts[#counts + 1] = tonumber(redis.call('HGET', KEYS[1], minute - ago) or '0')
end
return counts
"""


class Counters:
    """Workers count here; the server shows the sums."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def add(self, name: str, labels: Mapping[str, str] | None = None, amount: int = 1) -> None:
        """Add amount to the counter of this name and these labels."""
        self.add_many([(name, labels or {}, amount)])

    def add_many(self, amounts: Iterable[tuple[str, Mapping[str, str], int]]) -> None:
        """Add to several counters, each with its name and labels; one round trip."""
        with self._redis.pipeline() as pipe:
            for name, labels, amount in amounts:
                if amount:
                    field = json.dumps([name, sorted(labels.items())])
                    pipe.hincrby(keys.counters(), field, amount)
                if amount and name == PACED:
                    pipe.eval(_STEP, 1, keys.pace(), amount, PACE_MINUTES)
            pipe.execute()

    def read(self) -> dict[CounterKey, int]:
        """All counters; one round trip."""
        found: Any = self._redis.hgetall(keys.counters())
        return {_key_of(field): int(value) for field, value in found.items()}

    def pace(self) -> list[int]:
        """Pictures of each of the last PACE_MINUTES whole minutes, oldest first; one round trip."""
        found: Any = self._redis.eval(_PACE, 1, keys.pace(), PACE_MINUTES)
        return [int(count) for count in found]


def _key_of(field: bytes) -> CounterKey:
    name, labels = json.loads(field)
    return name, tuple((key, value) for key, value in labels)

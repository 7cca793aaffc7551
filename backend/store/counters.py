"""Counters that several processes add to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import redis

from backend.store import keys

CounterKey = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name with its labels, sorted by label."""


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
            pipe.execute()

    def read(self) -> dict[CounterKey, int]:
        """All counters; one round trip."""
        found: Any = self._redis.hgetall(keys.counters())
        return {_key_of(field): int(value) for field, value in found.items()}


def _key_of(field: bytes) -> CounterKey:
    name, labels = json.loads(field)
    return name, tuple((key, value) for key, value in labels)

"""Counts of what people did, by project."""

from __future__ import annotations

import redis

from backend.store import keys
from backend.store.acceptance import Acceptance, AcceptanceStore, ProjectAcceptance, together


def test_what_was_counted_last_stays(connection: redis.Redis) -> None:
    store = AcceptanceStore(connection)
    assert store.read() == {}
    first = ProjectAcceptance(5.5, (Acceptance("a", 3, 1, 2, 1, 0, 4), Acceptance("b", 1)))
    store.put("7.1795224262", ProjectAcceptance(1.0, ()))
    store.put("7", first)
    store.put("8", ProjectAcceptance(2.0, ()))
    assert store.read() == {"7": first, "8": ProjectAcceptance(2.0, ())}


def test_counts_of_another_release_are_left_out(connection: redis.Redis) -> None:
    connection.hset(keys.acceptance(), "7", '{"schema": 99}')
    assert AcceptanceStore(connection).read() == {}


def test_together() -> None:
    assert together([]) == Acceptance()
    sum_of = together([Acceptance("a", 1, 2, 3, 4, 5, 6), Acceptance("b", 10, 20, 30, 40, 50, 60)])
    assert sum_of == Acceptance("", 11, 22, 33, 44, 55, 66)

"""Counters of several processes."""

from __future__ import annotations

import threading

import redis

from backend.store.connection import connect
from backend.store.counters import Counters


def test_counters_are_told_apart_by_name_and_labels(connection: redis.Redis) -> None:
    counters = Counters(connection)
    assert counters.read() == {}
    counters.add("tasks")
    counters.add("tasks", {"b": "2", "a": "1"})
    counters.add("tasks", {"a": "1", "b": "2"}, amount=4)
    counters.add("pushed", amount=2)
    assert counters.read() == {
        ("tasks", ()): 1,
        ("tasks", (("a", "1"), ("b", "2"))): 5,
        ("pushed", ()): 2,
    }


def test_no_count_is_lost_between_threads(redis_url: str) -> None:
    def count() -> None:
        with connect(redis_url) as client:
            for _ in range(100):
                Counters(client).add("n")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(redis_url) as client:
        assert Counters(client).read() == {("n", ()): 400}

"""Counters of several processes."""

from __future__ import annotations

import threading

import redis

from backend.store import keys
from backend.store.connection import connect
from backend.store.counters import PACE_MINUTES, PACED, Counters


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


def _minute(connection: redis.Redis) -> int:
    seconds, _ = connection.time()  # type: ignore[misc, unused-ignore]
    return int(seconds) // 60


def test_the_pace_is_told_by_whole_minutes(connection: redis.Redis) -> None:
    counters = Counters(connection)
    assert counters.pace() == [0] * PACE_MINUTES
    connection.hset(keys.pace(), "5", 7)  # long ago
    counters.add(PACED, amount=3)
    counters.add("batches", amount=9)
    counted = connection.hgetall(keys.pace())
    assert list(counted.values()) == [b"3"], "what is too old is gone, others are not paced"
    now = _minute(connection)
    connection.hset(keys.pace(), mapping={str(now - 1): 4, str(now - PACE_MINUTES): 6})
    pace = counters.pace()
    if _minute(connection) == now:  # else the minute has just ended, and all are a place further
        assert (pace[-1], pace[0], sum(pace)) == (4, 6, 10)
    else:
        assert pace[-2] == 4

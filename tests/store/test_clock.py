"""One clock for all machines."""

from __future__ import annotations

import time

import pytest
import redis

from backend.store.clock import SharedClock


def test_it_is_redis_s_time_whatever_this_machine_s_clock_says(
    connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    right_s = time.time()
    monkeypatch.setattr(time, "time", lambda: right_s - 3600)
    assert abs(SharedClock(connection)() - right_s) < 60


def test_it_goes_on_steadily_and_asks_once_a_second(connection: redis.Redis) -> None:
    steady_s, asked = [50.0], connection.info("commandstats").get("cmdstat_time", {"calls": 0})
    clock = SharedClock(connection, steady_s=lambda: steady_s[0])
    first_s = clock()
    steady_s[0] += 0.75
    assert clock() == pytest.approx(first_s + 0.75)
    steady_s[0] += 0.75  # the carried time is dropped for what Redis says
    assert clock() < first_s + 0.75
    calls = connection.info("commandstats")["cmdstat_time"]["calls"] - asked["calls"]
    assert calls == 2

"""The list of recent predictions."""

from __future__ import annotations

import time

import redis

from backend.domain import Failed, Predicted
from backend.store import keys
from backend.store.predictions import PredictionCache
from backend.store.recent import MOST, RecentPredictions


def _cache(connection: redis.Redis) -> PredictionCache:
    return PredictionCache(connection, max_items=100, ttl_s=60, failure_ttl_s=60)


def _note(connection: redis.Redis, project_id: str, key_of: dict[int, str]) -> None:
    with connection.pipeline() as pipe:
        RecentPredictions(connection).note(project_id, key_of, pipe)
        pipe.execute()


def test_newest_first_with_what_the_cache_holds(connection: redis.Redis) -> None:
    recent, cache = RecentPredictions(connection), _cache(connection)
    assert recent.read() == []
    cache.put_many({"a": Predicted({"score": 0.1}), "b": Predicted({"score": 0.2})})
    _note(connection, "1.1795", {11: "a"})
    _note(connection, "2", {12: "b", 13: "never stored"})
    _note(connection, "2", {})
    found = recent.read()
    assert [(one.project_id, one.task_id) for one in found] == [("2", 12), ("1", 11)]
    assert [one.prediction for one in found] == [{"score": 0.2}, {"score": 0.1}]
    assert all(abs(one.made_at_s - time.time()) < 60 for one in found)
    cache.put_many({"b": Failed("media_missing", "gone")})
    assert [one.task_id for one in recent.read()] == [11]


def test_the_list_stays_short_and_names_each_once(connection: redis.Redis) -> None:
    tasks = {number: f"k{number}" for number in range(3 * MOST)}
    _cache(connection).put_many({key: Predicted({}) for key in tasks.values()})
    _note(connection, "1", tasks)
    _note(connection, "1", {3 * MOST - 1: f"k{3 * MOST - 1}"})
    assert connection.llen(keys.recent_predictions()) == MOST
    found = [one.task_id for one in RecentPredictions(connection).read()]
    assert found == list(range(3 * MOST - 1, 2 * MOST, -1))

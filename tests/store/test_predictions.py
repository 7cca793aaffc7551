"""The prediction cache: bytes as they go out, order of dropping, claims."""

from __future__ import annotations

import json
import math
import threading

import pytest
import redis

from backend.domain import Failed, Predicted
from backend.store import keys
from backend.store.connection import connect
from backend.store.predictions import PredictionCache, task_key

PAYLOAD = {"result": [{"id": "a", "value": {"x": 1.5}}], "score": 0.5, "model_version": "Größe"}


def cache_of(connection: redis.Redis, max_items: int = 100, ttl_s: int = 60) -> PredictionCache:
    return PredictionCache(connection, max_items=max_items, ttl_s=ttl_s, failure_ttl_s=5)


def test_nothing_asked_nothing_answered(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    cache.put_many({})
    cache.release([], "job")
    assert cache.get_many([]) == []
    assert cache.claim([], "job", 5) == []


def test_a_prediction_comes_back_as_the_bytes_that_go_out(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    cache.put_many({"a": Predicted(PAYLOAD), "b": Failed("media_missing", "no picture")})
    raw, failed, unknown = cache.get_many(["a", "b", "c"])
    assert isinstance(raw, bytes)
    assert raw.startswith(b'{"result":[{"id":"a","value":{"x":1.5}}]')
    assert json.loads(raw) == PAYLOAD
    assert failed == Failed("media_missing", "no picture")
    assert unknown is None


def test_a_number_json_has_not_is_refused(connection: redis.Redis) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        cache_of(connection).put_many({"a": Predicted({"score": math.nan})})


def test_putting_twice_changes_nothing(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    for _ in range(2):
        cache.put_many({"a": Predicted(PAYLOAD)})
    assert connection.zcard(keys.predictions_by_age("finished")) == 1
    assert cache.get_many(["a"])[0] is not None


def test_a_failure_gives_way_to_a_prediction_and_back(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    cache.put_many({"a": Failed("media", "x")})
    cache.put_many({"a": Predicted({})})
    assert cache.get_many(["a"]) == [b"{}"]
    assert connection.zcard(keys.predictions_by_age("failed")) == 0
    cache.put_many({"a": Failed("media", "y")})
    assert cache.get_many(["a"]) == [Failed("media", "y")]
    assert connection.zcard(keys.predictions_by_age("finished")) == 0


def test_the_oldest_are_dropped_first(connection: redis.Redis) -> None:
    cache = cache_of(connection, max_items=3)
    cache.put_many({name: Predicted({"n": name}) for name in ("e", "d")})
    cache.put_many({name: Predicted({"n": name}) for name in ("c", "b")})
    cache.put_many({"d": Predicted({"n": "d again"})})  # now the youngest
    cache.put_many({"a": Predicted({"n": "a"})})
    assert cache.get_many(["a", "b", "c", "d", "e"]) == [
        b'{"n":"a"}',
        b'{"n":"b"}',
        None,
        b'{"n":"d again"}',
        None,
    ]
    assert connection.zcard(keys.predictions_by_age("finished")) == 3


def test_one_large_put_is_trimmed_to_the_limit_in_order(connection: redis.Redis) -> None:
    cache = cache_of(connection, max_items=7)
    names = [f"{(i * 7919) % 2000:04d}" for i in range(1200)]  # neither sorted nor repeated
    cache.put_many({name: Predicted({}) for name in names})
    found = cache.get_many(names)
    assert [name for name, raw in zip(names, found, strict=True) if raw] == names[-7:]
    assert connection.zcard(keys.predictions_by_age("finished")) == 7


def test_failures_do_not_push_predictions_out(connection: redis.Redis) -> None:
    cache = cache_of(connection, max_items=2)
    cache.put_many({"a": Predicted({})})
    cache.put_many({f"f{i}": Failed("media", "") for i in range(10)})
    assert cache.get_many(["a"]) == [b"{}"]
    assert connection.zcard(keys.predictions_by_age("failed")) == 2


def test_lifetimes_are_those_of_the_kinds(connection: redis.Redis) -> None:
    cache = cache_of(connection, ttl_s=60)
    cache.put_many({"a": Predicted({}), "b": Failed("media", "")})
    assert 55 <= int(str(connection.ttl(keys.prediction("a")))) <= 60
    assert 1 <= int(str(connection.ttl(keys.prediction("b")))) <= 5


def test_what_expired_leaves_the_list_by_age(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    connection.zadd(keys.predictions_by_age("finished"), {"expired long ago": 1.0})
    cache.put_many({"a": Predicted({})})
    assert connection.zrange(keys.predictions_by_age("finished"), 0, -1) == [b"a"]


def test_four_hundred_keys_cost_one_command(connection: redis.Redis) -> None:
    cache = cache_of(connection, max_items=1000)
    names = [f"k{i}" for i in range(400)]
    cache.put_many({name: Predicted({}) for name in names})
    before = connection.info("commandstats")
    assert cache.get_many(names) == [b"{}"] * 400
    after = connection.info("commandstats")
    spent = {
        name: stats["calls"] - before.get(name, {"calls": 0})["calls"]
        for name, stats in after.items()
        if name != "cmdstat_info"
    }
    assert {name for name, calls in spent.items() if calls} == {"cmdstat_mget"}
    assert spent["cmdstat_mget"] == 1


def test_a_claim_is_shared_prolonged_and_released_by_its_owner(connection: redis.Redis) -> None:
    cache = cache_of(connection)
    assert cache.claim(["a", "b"], "first", 5) == ["first", "first"]
    assert cache.claim(["b", "c"], "second", 5) == ["first", "second"]
    assert cache.claim(["a"], "first", 50) == ["first"]
    assert int(str(connection.ttl(keys.claim("a")))) > 5
    cache.release(["a", "b", "c"], "second")
    assert cache.claim(["a", "b", "c"], "third", 5) == ["first", "first", "third"]


def test_of_many_threads_one_gets_each_key(redis_url: str) -> None:
    names = [f"k{i}" for i in range(50)]
    owners: dict[str, list[str]] = {}
    gate = threading.Barrier(6)

    def compete(job_id: str) -> None:
        with connect(redis_url) as client:
            cache = cache_of(client)
            gate.wait()
            # Halves in different order, so that no thread wins by starting first.
            order = names if int(job_id) % 2 else names[::-1]
            got = [owner for name in order for owner in cache.claim([name], job_id, 60)]
            owners[job_id] = got if order is names else got[::-1]

    threads = [threading.Thread(target=compete, args=(str(i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners) == 6
    assert len({tuple(got) for got in owners.values()}) == 1, "all see the same owners"


def test_task_keys_depend_on_everything_but_order() -> None:
    base = task_key("v1", "f", {"image": "x", "n": 1})
    assert base == task_key("v1", "f", {"n": 1, "image": "x"})
    others = [
        task_key("v2", "f", {"image": "x", "n": 1}),
        task_key("v1", "g", {"image": "x", "n": 1}),
        task_key("v1", "f", {"image": "y", "n": 1}),
        task_key("v1", "f", {"image": "x", "n": "1"}),
        task_key("v1", "f", {}),
    ]
    assert len({base, *others}) == 6

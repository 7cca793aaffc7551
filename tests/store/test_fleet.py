"""Signs of life."""

from __future__ import annotations

from dataclasses import replace

import redis

from backend.domain import BackboneIdentity
from backend.store import keys
from backend.store.fleet import Fleet, WorkerInfo

WORKER = WorkerInfo("w1", "host", 12, "cpu", "", "starting")


def test_nobody_lives_at_first(connection: redis.Redis) -> None:
    fleet = Fleet(connection)
    assert fleet.alive(10) == []
    assert fleet.beats() == {}
    assert fleet.identity() is None
    fleet.forget("never seen")


def test_the_last_beat_counts(connection: redis.Redis) -> None:
    fleet = Fleet(connection)
    ready = replace(WORKER, backbone="resnet18", state="ready", jobs_done=2)
    fleet.beat(WORKER)
    fleet.beat(ready)
    assert fleet.alive(10) == [ready]
    failed = replace(WORKER, state="failed", reason="no weights")
    fleet.beat(failed)
    assert fleet.alive(10) == [failed]


def test_a_worker_is_known_until_it_is_forgotten(connection: redis.Redis) -> None:
    fleet = Fleet(connection)
    other = replace(WORKER, name="w2")
    fleet.beat(WORKER)
    fleet.beat(other)
    connection.zincrby(keys.fleet_beats(), -600, "w1")  # as if it had beaten long ago
    assert fleet.alive(300) == [other]
    silent_s = fleet.beats()["w1"]
    fleet.beat(WORKER)
    assert 599 < fleet.beats()["w1"] - silent_s < 700
    assert fleet.alive(300) == [other, WORKER]
    fleet.forget("w1")
    fleet.forget("w1")
    assert fleet.alive(300) == [other]
    assert list(fleet.beats()) == ["w2"]


def test_what_was_loaded_is_told(connection: redis.Redis) -> None:
    fleet = Fleet(connection)
    identity = BackboneIdentity("resnet18", "abcd", 224, ("tench", "Größe"))
    fleet.publish_identity(identity, unless_told=True)
    assert fleet.identity() == identity
    other = replace(identity, digest="ef01")
    fleet.publish_identity(other, unless_told=True)
    assert fleet.identity() == identity
    fleet.publish_identity(other)
    assert fleet.identity() == other

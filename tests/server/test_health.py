"""/health, / and /healthz on a real Redis."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis

from backend.domain import BackboneIdentity
from backend.store import keys
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet, WorkerInfo, WorkerState
from tests.server.conftest import LABEL_CONFIG, Serve


def _worker(name: str, state: WorkerState, reason: str = "") -> WorkerInfo:
    return WorkerInfo(name, "here", 1, "cpu", "mobilenet_v2", state, reason)


@pytest.mark.parametrize("path", ["/", "/health"])
def test_members(client: httpx.Client, connection: redis.Redis, path: str) -> None:
    fleet = Fleet(connection)
    fleet.beat(replace(_worker("a", "ready"), runtime="openvino float32"))
    fleet.beat(_worker("b", "starting"))
    identity = BackboneIdentity("mobilenet_v2", "ab12", 224, ("cat", "dog"), "download")
    fleet.publish_identity(identity)
    reply = client.get(path)
    assert reply.status_code == 200
    told = reply.json()
    assert told["status"] == "UP"
    assert told["version"]
    assert told["workers"] == {"alive": 2, "states": {"ready": 1, "starting": 1, "failed": 0}}
    assert told["queues"] == {
        "interactive": 0, "predict": 0, "push": 0, "bulk": 0, "train": 0,
    }  # fmt: skip
    assert told["trainers"] == 0
    assert told["device"] == "cpu"
    assert told["runtimes"] == {"a": "openvino float32"}
    assert told["backbone"] == "mobilenet_v2"
    assert told["model"] == {
        "name": "mobilenet_v2", "digest": "ab12", "size_px": 224, "classes": 2,
        "source": "download",
    }  # fmt: skip
    assert told["hint"] is None
    assert told["problems"] == []


@pytest.mark.parametrize("setting", ["auto", "embedded"])
def test_the_embedded_backbone_is_told_with_a_way_to_a_better_one(
    serve: Serve, connection: redis.Redis, setting: str
) -> None:
    client = serve(backbone=setting)
    Fleet(connection).publish_identity(BackboneIdentity("embedded", "ab12", 256, (), "embedded"))
    told = client.get("/health").json()
    assert (told["backbone"], told["model"]["source"]) == ("embedded", "embedded")
    assert "BACKBONE_WEIGHTS" in told["hint"]
    body = {"project": "7.1", "schema": LABEL_CONFIG}
    assert client.post("/setup", json=body).json()["model_version"].startswith("embedded-0-")


def test_a_named_backbone_is_not_taken_for_the_embedded_one(
    serve: Serve, connection: redis.Redis
) -> None:
    Fleet(connection).publish_identity(BackboneIdentity("embedded", "ab12", 256, (), "embedded"))
    told = serve(backbone="mobilenet_v2").get("/health").json()
    assert (told["backbone"], told["hint"]) == ("mobilenet_v2", None)


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ([], "no worker is alive"),
        ([replace(_worker("a", "ready"), kind="train")], "no worker is alive"),
        ([_worker("a", "starting")], "no worker is ready yet"),
        ([_worker("a", "failed", "no weights at x.pth")], "no weights at x.pth"),
        (
            [_worker("a", "ready"), _worker("b", "failed", "out of memory")],
            "1 of 2 workers failed: out of memory",
        ),
    ],
    ids=["none", "only-training", "starting", "failed", "one-failed"],
)
def test_degraded_in_words(
    client: httpx.Client, connection: redis.Redis, workers: list[WorkerInfo], words: str
) -> None:
    for worker in workers:
        Fleet(connection).beat(worker)
    reply = client.get("/health")
    assert reply.status_code == 200
    assert reply.json()["status"].startswith("DEGRADED: ")
    assert words in reply.json()["status"]


def test_a_silent_worker_is_not_alive(serve: Serve, connection: redis.Redis) -> None:
    client = serve(worker_lost_s=300)
    Fleet(connection).beat(_worker("a", "ready"))
    assert client.get("/health").json()["workers"]["alive"] == 1
    connection.zincrby(keys.fleet_beats(), -600, "a")  # as if it had beaten long ago
    assert client.get("/health").json()["workers"]["alive"] == 0


def test_takes_less_than_50_ms(client: httpx.Client, connection: redis.Redis) -> None:
    for number in range(20):
        Fleet(connection).beat(_worker(str(number), "ready"))
    took_s = []
    for _ in range(15):
        started_s = time.perf_counter()
        client.get("/health")
        took_s.append(time.perf_counter() - started_s)
    assert statistics.median(took_s) < 0.05


@pytest.mark.slow
def test_redis_comes_goes_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "first") as url:
        kept = url
    client = serve(redis_url=kept)  # Redis is away at the start
    started_s = time.monotonic()
    reply = client.get("/health")
    assert time.monotonic() - started_s < 1.0  # Label Studio's limit
    assert reply.status_code == 200
    assert reply.json()["status"].startswith("DEGRADED: Redis")
    assert client.get("/healthz").json() == {"status": "UP"}
    assert client.get("/versions").status_code == 503
    for _ in range(2):  # it comes, goes, and comes again
        with EmbeddedRedis(tmp_path / "first") as url:
            assert url == kept
            give_up_s = time.monotonic() + 10
            while client.get("/versions").status_code != 200:
                assert time.monotonic() < give_up_s
                time.sleep(0.1)
            assert "no worker is alive" in client.get("/health").json()["status"]
        assert client.get("/versions").status_code == 503
        assert client.get("/health").json()["status"].startswith("DEGRADED: Redis")


@pytest.mark.slow
def test_a_redis_that_hangs_is_told_within_a_second(serve: Serve, tmp_path: Path) -> None:
    embedded = EmbeddedRedis(tmp_path / "hanging")
    url = embedded.start()
    admin = redis.Redis.from_url(url)
    try:
        client = serve(redis_url=url)
        assert "no worker" in client.get("/health").json()["status"]
        admin.client_pause(2500, all=True)
        for _ in range(3):
            started_s = time.monotonic()
            reply = client.get("/health")
            assert time.monotonic() - started_s < 1.0
            assert "has not answered" in reply.json()["status"]
        time.sleep(1.5)
        assert "no worker" in client.get("/health").json()["status"]
    finally:
        admin.close()
        embedded.stop()

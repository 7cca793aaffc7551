"""Workers that may choose their backbone end with the same one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from backend.domain import BackboneIdentity
from backend.jobs import agreement
from backend.jobs.agreement import agreed_backbone, in_turn
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.fleet import Fleet, WorkerInfo, WorkerState
from backend.vision.choice import AUTO

SettingsOf = Callable[..., Settings]


def told(
    connection: redis.Redis, name: str, state: WorkerState = "ready", digest: str = "ab12"
) -> Fleet:
    """A fleet with one living worker that has told what it runs."""
    fleet = Fleet(connection)
    fleet.beat(WorkerInfo("first", "there", 1, "cpu", name, state))
    fleet.publish_identity(BackboneIdentity(name, digest, 256))
    return fleet


@pytest.mark.parametrize("runs", ["embedded", "mobilenet_v2"])
def test_a_worker_follows_the_living(
    connection: redis.Redis, settings: SettingsOf, runs: str
) -> None:
    assert agreed_backbone(settings(backbone=AUTO), told(connection, runs)) == runs


@pytest.mark.parametrize(
    ("runs", "state"),
    [("embedded", "failed"), ("embedded", "starting"), ("vgg16", "ready")],
    ids=["failed", "not ready yet", "left over"],
)
def test_others_are_not_followed(
    connection: redis.Redis, settings: SettingsOf, runs: str, state: WorkerState
) -> None:
    assert agreed_backbone(settings(backbone=AUTO), told(connection, runs, state)) == AUTO


def test_nobody_has_told_anything(connection: redis.Redis, settings: SettingsOf) -> None:
    assert agreed_backbone(settings(backbone=AUTO), Fleet(connection)) == AUTO
    Fleet(connection).publish_identity(BackboneIdentity("embedded", "ab12", 256))
    assert agreed_backbone(settings(backbone=AUTO), Fleet(connection)) == AUTO, (
        "those workers are gone"
    )


def test_what_is_named_stays(connection: redis.Redis, settings: SettingsOf, tmp_path: Path) -> None:
    fleet = told(connection, "embedded")
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    assert agreed_backbone(settings(backbone="mobilenet_v2"), fleet) == "mobilenet_v2"
    assert agreed_backbone(settings(backbone=AUTO, backbone_weights=weights), fleet) == AUTO


def test_one_loads_after_the_other(
    connection: redis.Redis, redis_url: str, settings: SettingsOf
) -> None:
    chosen: list[str] = []
    alone: list[bool] = []
    busy = threading.Lock()
    began = threading.Barrier(3)

    def load(name: str) -> None:
        own = connect(redis_url)
        fleet = Fleet(own)
        began.wait(10)
        with in_turn(settings(backbone=AUTO), own):
            alone.append(busy.acquire(blocking=False))
            runs = agreed_backbone(settings(backbone=AUTO), fleet)
            if runs == AUTO:
                # Only the first one may get here: what it finds, later ones would not.
                runs = "mobilenet_v2" if chosen else "embedded"
            time.sleep(0.05)
            chosen.append(runs)
            fleet.publish_identity(BackboneIdentity(runs, "ab12", 256))
            fleet.beat(WorkerInfo(name, "here", 1, "cpu", runs, "ready"))
            busy.release()
        own.close()

    threads = [threading.Thread(target=load, args=(f"w{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert alone == [True] * 3
    assert chosen == ["embedded"] * 3


def test_a_turn_whose_holder_was_killed_ends(
    connection: redis.Redis, settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "TURN_S", 0.3)
    killed = in_turn(settings(backbone=AUTO), connection)
    killed.__enter__()
    entered = False
    with in_turn(settings(backbone=AUTO), connection):
        entered = True
    assert entered


def test_a_named_backbone_waits_for_nobody(connection: redis.Redis, settings: SettingsOf) -> None:
    with (
        in_turn(settings(backbone=AUTO), connection),
        in_turn(settings(backbone="embedded"), connection),
    ):
        assert len(list(connection.scan_iter("*backbone:turn"))) == 1

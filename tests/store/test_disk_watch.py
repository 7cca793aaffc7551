"""A full disk under the embedded Redis: it goes on, says so, and writes all once there is room."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from backend.errors import StoreUnavailable
from backend.store import disk_watch
from backend.store.connection import connect
from backend.store.disk_watch import RESERVE_BYTES, DiskWatch, disk_notice
from backend.store.embedded import EmbeddedRedis
from tests.tiny_disk import fill, tiny_disk

Until = Callable[..., None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "disk", 4 * RESERVE_BYTES >> 20) as folder:
        yield folder


def appends(client: redis.Redis) -> bool:
    return bool(client.info("persistence")["aof_enabled"])


def rewriting_fails(client: redis.Redis) -> bool:
    return bool(client.info("persistence")["aof_last_bgrewrite_status"] != "ok")


def until_refused(client: redis.Redis) -> int:
    """How many keys of a thousand bytes were taken before Redis refused one."""
    for number in range(10**5):
        try:
            client.set(f"key{number}", b"x" * 1000)
        except redis.ResponseError:
            return number
    raise AssertionError("it took everything")


def looked(watch: DiskWatch, told: Callable[[], bool]) -> Callable[[], bool]:
    """Looks, then asks."""

    def ask() -> bool:
        watch.look()
        return told()

    return ask


def watched(client: redis.Redis, disk: Path) -> DiskWatch:
    """A watch that looks whenever it is asked to."""
    ticks = iter(range(1, 10**9))
    return DiskWatch(client, disk, steady_s=lambda: float(next(ticks)))


def test_nothing_is_refused_where_the_disk_fills_up_before(disk: Path, until: Until) -> None:
    server = EmbeddedRedis(disk)
    with server as url, connect(url) as client:
        watch = watched(client, disk)
        watch.look()
        assert (appends(client), disk_notice(client)) == (True, "")
        client.set("before", 1)
        fill(disk, RESERVE_BYTES // 2)
        watch.look()
        assert not appends(client)
        assert "Make room" in disk_notice(client)
        fill(disk)
        for number in range(1000):
            client.set(f"key{number}", b"x" * 1000)
        watch.look()
        assert client.get("key999") is not None
        (disk / "ballast").unlink()
        until(looked(watch, lambda: disk_notice(client) == ""))
        assert appends(client)
        client.config_set("appendfsync", "always")
        client.set("after", 1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(disk) as url, connect(url) as client:
        assert client.mget("before", "after") == [b"1", b"1"]
        assert client.mget("key0", "key999") == [b"x" * 1000] * 2


def test_a_disk_filled_at_once_is_noticed_by_the_refusal(
    disk: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_watch, "RESERVE_BYTES", 0)
    server = EmbeddedRedis(disk)
    with server as url, connect(url) as client:
        fill(disk)
        stored = until_refused(client)
        watch = watched(client, disk)
        watch.look()
        client.set("later", 1)
        assert "0 MiB free" in disk_notice(client)
        # Killed now, it has lost what came later, and reads no half of anything.
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    (disk / "ballast").unlink()
    with EmbeddedRedis(disk) as url, connect(url) as client:
        kept = client.mget([f"key{number}" for number in range(stored)])
        assert set(kept) <= {b"x" * 1000, None}
        assert client.get("later") is None


def test_a_return_that_fails_is_given_up_until_there_is_more_room(disk: Path, until: Until) -> None:
    room = [0]
    with EmbeddedRedis(disk) as url, connect(url) as client:
        for number in range(100):
            client.set(f"key{number}", os.urandom(10_000))
        ticks = iter(range(1, 10**9))
        watch = DiskWatch(
            client, disk, steady_s=lambda: float(next(ticks)), free_bytes=lambda _: room[0]
        )
        watch.look()
        fill(disk)
        room[0] = 1 << 40  # as if it could be written: it cannot
        watch.look()
        until(looked(watch, lambda: rewriting_fails(client)))
        room[0] = 0
        until(looked(watch, lambda: not appends(client)))
        client.set("still", "here")
        (disk / "ballast").unlink()
        room[0] = shutil.disk_usage(disk).free
        until(looked(watch, lambda: disk_notice(client) == ""))
        assert appends(client)
        assert client.get("still") == b"here"


def test_a_start_on_a_full_disk_is_refused_with_what_to_do(disk: Path) -> None:
    fill(disk)
    with pytest.raises(StoreUnavailable, match="No space left") as caught:
        EmbeddedRedis(disk).start()
    assert str(disk) in caught.value.what
    assert caught.value.remedy

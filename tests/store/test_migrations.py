"""Stores of other schemas: migrated once, whatever is killed when, or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.errors import StoreUnavailable
from backend.store import keys, migrations
from backend.store.connection import connect
from tests.store import next_release

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plain(redis_url: str) -> Iterator[redis.Redis]:
    """A client that is no release's, so that nobody waits for it to go."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process is of the next release."""
    monkeypatch.setattr(keys, "SCHEMA", 1)
    monkeypatch.setattr(keys, "_PREFIX", keys.prefix(1))
    monkeypatch.setattr(migrations, "MIGRATIONS", {})
    next_release.become()


@contextmanager
def process(url: str, halt: str = "never") -> Iterator[subprocess.Popen[str]]:
    """One of the next release."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.next_release", url, halt],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def fill(client: redis.Redis, projects: int = 3) -> None:
    """What this release keeps of some projects, with one key that has an end."""
    client.set(keys.SCHEMA_KEY, "1")
    for number in range(1, projects + 1):
        fields: dict[Any, Any] = {
            "label_config": f"<View n='{number}'/>",
            "hostname": f"http://host-{number}",
        }
        client.hset(f"lsb:1:project:{number}", mapping=fields)
        client.hset(f"lsb:1:ledger:records:{number}", "7", "order 3 1 5.0 {}")
        client.expire(f"lsb:1:ledger:records:{number}", 1000)
        client.set(f"lsb:1:claim:{number}", "a job")


def named(client: redis.Redis) -> set[str]:
    found: Any = client.keys("lsb:*")
    return {name.decode() for name in found}


def migrated(projects: int = 3) -> set[str]:
    kept = {f"lsb:2:project:{n}" for n in range(1, projects + 1)}
    return kept | {f"lsb:2:ledger:records:{n}" for n in range(1, projects + 1)} | {keys.SCHEMA_KEY}


def test_an_older_store_gets_new_names_and_new_content(
    plain: redis.Redis, redis_url: str, upgraded: None
) -> None:
    fill(plain)
    connect(redis_url).close()
    assert named(plain) == migrated(), "what the step does not carry over is dropped"
    assert plain.hgetall("lsb:2:project:2") == {
        b"label_config": b"<View n='2'/>",
        b"address": b"http://host-2",
    }
    assert plain.hget("lsb:2:ledger:records:3", "7") == b"order 3 1 5.0 {}"
    left_s: Any = plain.ttl("lsb:2:ledger:records:3")
    assert 0 < left_s <= 1000
    assert plain.get(keys.SCHEMA_KEY) == b"2"


def test_more_keys_than_one_batch(plain: redis.Redis, redis_url: str, upgraded: None) -> None:
    fill(plain, projects=1200)
    connect(redis_url).close()
    assert named(plain) == migrated(1200)


def test_a_current_store_is_left_alone(plain: redis.Redis, redis_url: str, upgraded: None) -> None:
    plain.set(keys.SCHEMA_KEY, "2")
    plain.set("lsb:1:project:1", "a leftover")
    connect(redis_url).close()
    assert named(plain) == {keys.SCHEMA_KEY, "lsb:1:project:1"}


def test_killed_in_the_middle_the_next_start_goes_on(plain: redis.Redis, redis_url: str) -> None:
    fill(plain)
    with process(redis_url, "middle") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "halted\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
    names = named(plain)
    assert {"lsb:2:project:1", "lsb:1:ledger:records:1"} <= names, "half of it is done"
    with pytest.raises(StoreUnavailable, match="schema 1>2, this version reads schema 1"):
        connect(redis_url)
    plain.delete(keys.MIGRATION_LOCK)  # in life it ends by itself, after half a minute
    with process(redis_url) as second:
        told, _ = second.communicate(timeout=30)
    assert told == "http://host-1\n"
    assert named(plain) == migrated()


def test_many_starting_at_once_migrate_once(plain: redis.Redis, redis_url: str) -> None:
    fill(plain, projects=300)
    with process(redis_url) as one, process(redis_url) as two, process(redis_url) as three:
        told = [child.communicate(timeout=60) for child in (one, two, three)]
    assert [read for read, _ in told] == ["http://host-1\n"] * 3
    assert sum(log.count("store_migrated") for _, log in told) == 1
    assert named(plain) == migrated(300)


def test_a_process_of_the_older_release_is_waited_for(
    plain: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plain)
    older = connect(redis_url)
    monkeypatch.setattr(keys, "SCHEMA", 1)
    monkeypatch.setattr(keys, "_PREFIX", keys.prefix(1))
    monkeypatch.setattr(migrations, "MIGRATIONS", {})
    next_release.become()
    before = named(plain)
    with pytest.raises(StoreUnavailable, match=r"another release are still connected \(") as told:
        connect(redis_url)
    assert "Stop every server" in told.value.remedy
    assert named(plain) == before
    assert plain.get(keys.SCHEMA_KEY) == b"1", "the older one's workers may start again"
    older.close()
    connect(redis_url).close()
    assert named(plain) == migrated()


def test_half_a_migration_stays_one_while_somebody_is_connected(
    plain: redis.Redis, redis_url: str, upgraded: None
) -> None:
    fill(plain)
    plain.rename("lsb:1:project:1", "lsb:2:project:1")
    plain.set(keys.SCHEMA_KEY, "1>2")
    with redis.Redis.from_url(redis_url, client_name="lsb-schema-1") as older:
        older.ping()
        with pytest.raises(StoreUnavailable, match="still connected"):
            connect(redis_url)
    assert plain.get(keys.SCHEMA_KEY) == b"1>2", "an older release must not start on it"


def test_who_connects_just_before_the_mark_is_seen(
    plain: redis.Redis, redis_url: str, upgraded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older process that has read the number 1 a moment before it became 1>2."""
    fill(plain)
    older = redis.Redis.from_url(redis_url, client_name="lsb-schema-1")
    marked = migrations._set

    def late(connection: redis.Redis, before: str, after: str) -> None:
        older.ping()
        marked(connection, before, after)

    monkeypatch.setattr(migrations, "_set", late)
    with older, pytest.raises(StoreUnavailable, match="still connected"):
        connect(redis_url)
    assert plain.get(keys.SCHEMA_KEY) == b"1"
    assert "lsb:1:project:1" in named(plain)


def test_the_older_release_cannot_start_any_more(plain: redis.Redis, redis_url: str) -> None:
    plain.set(keys.SCHEMA_KEY, "2")
    plain.set("lsb:2:project:1", "new")
    with pytest.raises(StoreUnavailable, match="schema 2, this version reads schema 1") as caught:
        connect(redis_url)
    assert "restore" in caught.value.remedy
    assert named(plain) == {keys.SCHEMA_KEY, "lsb:2:project:1"}


def test_without_a_number_the_names_tell(plain: redis.Redis, redis_url: str) -> None:
    fill(plain)
    plain.delete(keys.SCHEMA_KEY)
    before = named(plain)
    connect(redis_url).close()
    assert plain.get(keys.SCHEMA_KEY) == b"1"
    assert named(plain) == before | {keys.SCHEMA_KEY}


def test_without_a_number_newer_names_are_refused(plain: redis.Redis, redis_url: str) -> None:
    fill(plain)
    plain.delete(keys.SCHEMA_KEY)
    plain.set("lsb:3:project:1", "newer")
    before = named(plain)
    with pytest.raises(StoreUnavailable, match="schema 3"):
        connect(redis_url)
    assert named(plain) == before


def test_without_a_number_half_a_migration_goes_on(
    plain: redis.Redis, redis_url: str, upgraded: None
) -> None:
    fill(plain)
    plain.rename("lsb:1:ledger:records:1", "lsb:2:ledger:records:1")
    plain.delete(keys.SCHEMA_KEY)
    connect(redis_url).close()
    assert named(plain) == migrated()


def test_another_program_s_keys_are_not_touched(
    plain: redis.Redis, redis_url: str, upgraded: None
) -> None:
    fill(plain)
    plain.set("rq:job:1", "a job")
    plain.set("lsbx:1:project:1", "of somebody else")
    connect(redis_url).close()
    assert plain.get("rq:job:1") == b"a job"
    assert plain.get("lsbx:1:project:1") == b"of somebody else"


def test_a_long_migration_of_another_process_is_told(
    plain: redis.Redis, redis_url: str, upgraded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plain)
    plain.set(keys.MIGRATION_LOCK, "somebody")
    monkeypatch.setattr(migrations, "_PATIENCE_S", 0.0)
    with pytest.raises(StoreUnavailable, match="being migrated by another process"):
        connect(redis_url)


def test_a_lock_that_ran_out_is_told(
    plain: redis.Redis, redis_url: str, upgraded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plain)

    def slow(step: migrations.Step) -> None:
        plain.set(keys.MIGRATION_LOCK, "somebody who came meanwhile")
        step.carry()

    monkeypatch.setitem(migrations.MIGRATIONS, 2, slow)
    with pytest.raises(StoreUnavailable, match="Another process took over"):
        connect(redis_url)
    assert plain.get(keys.SCHEMA_KEY) == b"1>2"
    assert plain.get(keys.MIGRATION_LOCK) == b"somebody who came meanwhile"


def test_a_step_is_registered_once(upgraded: None) -> None:
    with pytest.raises(ValueError, match="schema 2"):
        migrations.migration(2)(lambda step: None)


def test_every_step_to_our_schema_is_there() -> None:
    assert set(migrations.MIGRATIONS) == set(range(2, keys.SCHEMA + 1))

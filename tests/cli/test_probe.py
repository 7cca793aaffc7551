"""What a container engine is told of the container it asks about."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis

from backend.store.fleet import Fleet, WorkerInfo

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def probe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as an engine runs it."""
    return subprocess.run(
        [sys.executable, "-m", "backend", "probe", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("host", "state", "healthy"),
    [
        ("", "ready", False),
        (socket.gethostname(), "ready", True),
        (socket.gethostname(), "starting", True),
        (socket.gethostname(), "failed", False),
        ("another-container", "ready", False),
    ],
    ids=["nobody", "ready", "loading", "failed", "elsewhere"],
)
def test_a_worker_is_well_while_it_says_so(
    redis_url: str, connection: redis.Redis, host: str, state: Any, healthy: bool
) -> None:
    if host:
        info = WorkerInfo("w", host, 1, "cpu", "net", state, reason="no weights")
        Fleet(connection).beat(info)
    told = probe("worker", REDIS_URL=redis_url)
    assert told.returncode == (0 if healthy else 1), told.stderr
    assert bool(told.stderr) is not healthy
    if state == "failed":
        assert "no weights" in told.stderr


def test_a_worker_of_an_embedded_redis_that_is_not_there(tmp_path: Path) -> None:
    told = probe("worker", DATA_DIR=str(tmp_path))
    assert told.returncode == 1
    assert "REDIS_URL is empty" in told.stderr


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Of something that answers /healthz and asks for a password elsewhere."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_is_well_while_it_answers(port: int) -> None:
    told = probe(PORT=str(port), HTTP_PROXY="http://127.0.0.1:1")
    assert (told.returncode, told.stderr) == (0, "")


def test_a_server_with_a_certificate_for_another_name_is_well(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    files = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=labels.example.org"]
    options = ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", files[0], "-keyout", files[1]]
    subprocess.run([*make, *options], check=True, capture_output=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        told = probe(PORT=str(server.server_port), TLS_CERT_FILE=files[0], TLS_KEY_FILE=files[1])
        server.shutdown()
        thread.join()
    assert (told.returncode, told.stderr) == (0, "")


def test_a_server_that_does_not_answer_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = probe(PORT=str(port))
    assert told.returncode == 1
    assert f"127.0.0.1:{port}/healthz" in told.stderr

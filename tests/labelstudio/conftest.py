"""A loopback server with scripted answers; Label Studio's own Python as the oracle."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Call:
    method: str
    path: str
    authorization: str
    body: Any


@dataclass
class Script:
    """url: where it listens. calls: what arrived. answer: (call) -> (status, JSON or bytes)."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answer: Callable[[Call], tuple[int, Any]] = lambda call: (200, {})


@pytest.fixture
def loopback() -> Iterator[Script]:
    """A real HTTP server on a free port."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = Call(
                self.command,
                self.path,
                self.headers.get("Authorization", ""),
                json.loads(raw) if raw else None,
            )
            script.calls.append(call)
            status, answer = script.answer(call)
            if status == 0:  # hang up without a word
                self.close_connection = True
                return
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def labelstudio_python() -> Path:
    """Python of Label Studio's own environment."""
    python = REPOSITORY / ".venv-labelstudio" / "bin" / "python"
    if not python.exists():
        pytest.skip("Label Studio's environment is missing: make test sets it up")
    return python


@pytest.fixture(scope="session")
def ask_sdk(labelstudio_python: Path) -> Callable[[str, Any], Any]:
    """ask_sdk(code, data): runs code there with ``data``; it leaves its answer in ``answer``."""

    def ask(code: str, data: Any) -> Any:
        program = (
            "import sys, json\ndata = json.load(sys.stdin)\n"
            f"{code}\nprint('ANSWER' + json.dumps(answer))"
        )
        done = subprocess.run(
            [labelstudio_python, "-W", "ignore", "-c", program],
            input=json.dumps(data),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.rpartition("ANSWER")[2])

    return ask

"""A proxy in front of the backend that notes how long every call took."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import httpx


@dataclass(frozen=True)
class Call:
    """One call that Label Studio made."""

    path: str
    took_s: float
    status: int
    reply: bytes


class RecordingProxy:
    """Passes every call on to target; calls lists them as they were answered."""

    def __init__(self, target: str) -> None:
        self.calls: list[Call] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = {"Content-Type": self.headers.get("Content-Type") or "text/plain"}
                began = time.monotonic()
                reply = httpx.request(
                    self.command, target + self.path, content=body, headers=kind, timeout=120
                )
                took_s = time.monotonic() - began
                proxy.calls.append(Call(self.path, took_s, reply.status_code, reply.content))
                self.send_response(reply.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)

            def do_GET(self) -> None:
                self._pass_on()

            def do_POST(self) -> None:
                self._pass_on()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing; calls tells."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> RecordingProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""A web server of different pictures that can be made slow and asked what it gave away."""

from __future__ import annotations

import functools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2

from backend.evaluation.drawn import draw_picture

DISTINCT = 16
"""Different contents; addresses beyond it repeat them, which is a new task all the same."""


class PictureServer:
    """Serves /<anything>/<number>.jpg on a loopback port, 404 for all else."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.asked: list[str] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked.append(self.path)
                time.sleep(served.delay_s)
                number = self.path.rpartition("/")[2].removesuffix(".jpg")
                if not number.isdecimal():
                    self.send_error(404)
                    return
                body = _jpeg(int(number) % DISTINCT)
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing; asked tells."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def addresses(self, name: str, count: int) -> list[str]:
        """count addresses nobody used before under another name."""
        return [f"http://{self.host}/{name}/{number}.jpg" for number in range(count)]

    def __enter__(self) -> PictureServer:
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


@functools.lru_cache(maxsize=DISTINCT)
def _jpeg(seed: int) -> bytes:
    rgb_u8 = draw_picture(seed, (240, 320), 1 + seed % 2).rgb_u8
    return bytes(cv2.imencode(".jpg", rgb_u8[..., ::-1])[1].tobytes())

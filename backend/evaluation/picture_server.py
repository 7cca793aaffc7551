"""A web server of pictures on this machine, so that a measurement fetches what tasks name."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from backend.evaluation.speed_pictures import marked


class PictureServer:
    """Serves /<mark>/<number>.jpg on a loopback port: the files in turn, marked by the path.

    host: as ALLOWED_HOSTS takes it.
    """

    def __init__(self, files: Sequence[bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # keeps connections open, as picture stores do
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                number = self.path.rpartition("/")[2].removesuffix(".jpg")
                if not number.isdecimal():
                    self.send_error(404)
                    return
                body = marked(files[int(number) % len(files)], self.path)
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def addresses(self, mark: str, count: int) -> list[str]:
        """So many addresses; each picture is new to every cache under another mark."""
        return [f"http://{self.host}/{mark}/{number}.jpg" for number in range(count)]

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

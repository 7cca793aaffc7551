"""A web server of pictures on this machine, so that a measurement fetches what tasks name."""

from __future__ import annotations

from collections.abc import Sequence

from backend.evaluation.loopback_server import LoopbackServer, QuietHandler
from backend.evaluation.speed_pictures import marked


class PictureServer(LoopbackServer):
    """Serves /<mark>/<number>.jpg on a loopback port: the files in turn, marked by the path."""

    def __init__(self, files: Sequence[bytes]) -> None:
        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"  # keeps connections open, as picture stores do
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802 - named by http.server
                number = self.path.rpartition("/")[2].removesuffix(".jpg")
                if not number.isdecimal():
                    self.send_error(404)
                    return
                self.reply(marked(files[int(number) % len(files)], self.path), "image/jpeg")

        super().__init__(Handler)

    def addresses(self, mark: str, count: int) -> list[str]:
        """So many addresses; each picture is new to every cache under another mark."""
        return [f"{self.url}/{mark}/{number}.jpg" for number in range(count)]

"""A web server of pictures on this machine, so that a measurement fetches what tasks name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from backend.evaluation.loopback_server import LoopbackServer, QuietHandler
from backend.evaluation.speed_pictures import marked


class PictureServer(LoopbackServer):
    """Serves /<mark>/<number>.jpg on a loopback port: the files in turn, marked by the path.

    trouble: what every call meets at the moment. refused: paths that were answered by 500.
    """

    slow_s = 2.0

    def __init__(self, files: Sequence[bytes]) -> None:
        self.trouble: Literal["", "slow", "500"] = ""
        self.refused: set[str] = set()
        pictures = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"  # keeps connections open, as picture stores do
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802 - named by http.server
                number = self.path.rpartition("/")[2].removesuffix(".jpg")
                if not number.isdecimal():
                    self.send_error(404)
                    return
                if pictures.trouble == "500":
                    pictures.refused.add(self.path)
                    self.send_error(500)
                    return
                if pictures.trouble == "slow":
                    time.sleep(pictures.slow_s)
                self.reply(marked(files[int(number) % len(files)], self.path), "image/jpeg")

        super().__init__(Handler)

    def addresses(self, mark: str, count: int) -> list[str]:
        """So many addresses; each picture is new to every cache under another mark."""
        return [f"{self.url}/{mark}/{number}.jpg" for number in range(count)]

"""A web server of different pictures that can be made slow and asked what it gave away."""

from __future__ import annotations

import functools
import time

import cv2

from backend.evaluation.drawn import draw_picture
from backend.evaluation.loopback_server import LoopbackServer, QuietHandler

DISTINCT = 16
"""Different contents; addresses beyond it repeat them, which is a new task all the same."""


class PictureServer(LoopbackServer):
    """Serves /<anything>/<number>.jpg on a loopback port, 404 for all else."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.asked: list[str] = []
        served = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                served.asked.append(self.path)
                time.sleep(served.delay_s)
                number = self.path.rpartition("/")[2].removesuffix(".jpg")
                if not number.isdecimal():
                    self.send_error(404)
                    return
                self.reply(_jpeg(int(number) % DISTINCT), "image/jpeg")

        super().__init__(Handler)

    def addresses(self, name: str, count: int) -> list[str]:
        """count addresses nobody used before under another name."""
        return [f"{self.url}/{name}/{number}.jpg" for number in range(count)]


@functools.lru_cache(maxsize=DISTINCT)
def _jpeg(seed: int) -> bytes:
    rgb_u8 = draw_picture(seed, (240, 320), 1 + seed % 2).rgb_u8
    return bytes(cv2.imencode(".jpg", rgb_u8[..., ::-1])[1].tobytes())

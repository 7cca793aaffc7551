"""The drawn pictures of a soak run, served without end, with the truth about each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2

from backend.evaluation.drawn import draw_picture
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.served_backend import LABEL

_FILES = 32
_SIDE_PX = 128


class SoakPictures:
    """The pictures by address. made: how many addresses were given out."""

    def __init__(self) -> None:
        drawn = [draw_picture(number, (_SIDE_PX, _SIDE_PX)) for number in range(_FILES)]
        self.server = PictureServer(
            [bytes(cv2.imencode(".jpg", one.rgb_u8[..., ::-1])[1]) for one in drawn]
        )
        self.made = 0
        self._percent = [one.boxes.xyxy_px / _SIDE_PX * 100 for one in drawn]

    def new(self, count: int) -> Sequence[str]:
        """Addresses that were not given out before."""
        begin, self.made = self.made, self.made + count
        return [f"{self.server.url}/soak/{number}.jpg" for number in range(begin, self.made)]

    def refused(self, address: str) -> bool:
        """Whether the host has answered for it by 500 at least once."""
        return address.removeprefix(self.server.url) in self.server.refused

    def result_of(self, address: str) -> list[dict[str, Any]]:
        """A correct annotation, as Label Studio has it."""
        number = int(address.rpartition("/")[2].removesuffix(".jpg"))
        return [
            {
                "id": f"r{at}",
                "from_name": "label",
                "to_name": "image",
                "type": "rectanglelabels",
                "origin": "manual",
                "original_width": _SIDE_PX,
                "original_height": _SIDE_PX,
                "image_rotation": 0,
                "value": {
                    "x": float(x0),
                    "y": float(y0),
                    "width": float(x1 - x0),
                    "height": float(y1 - y0),
                    "rotation": 0,
                    "rectanglelabels": [LABEL],
                },
            }
            for at, (x0, y0, x1, y1) in enumerate(self._percent[number % _FILES])
        ]

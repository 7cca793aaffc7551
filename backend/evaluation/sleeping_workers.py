"""Workers that sleep where others compute, to load the queue as a large fleet would.

``python -m backend.evaluation.sleeping_workers <how many> <milliseconds a picture>``:
processes forked off one, so that they share its memory. All that a worker says to Redis
and to Label Studio is said; no picture is fetched, no network runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from backend.domain import BackboneIdentity, Boxes, Picture
from backend.errors import BackendError
from backend.jobs import carrier, warming
from backend.jobs.carriage import Carriage, Ready
from backend.jobs.worker import run_worker
from backend.labelstudio.prediction import FoundBoxes
from backend.lifeline import end_with_parent
from backend.logs import configure_logs
from backend.settings import Settings, load_settings

_SIZE_HW = (375, 500)
_SQUARE_U8 = np.zeros((1, 1, 3), dtype=np.uint8)
_BOX_XYXY_PX = np.array([[100.0, 80.0, 400.0, 300.0]], dtype=np.float32)


@dataclass
class _Asleep:
    """In place of a backbone."""

    identity: BackboneIdentity = field(default_factory=lambda: BackboneIdentity("embedded", "", 1))
    size_px: int = 1
    runtime: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(form="asleep"))


def _carriage(ms: float) -> type[Carriage]:
    class SleepingCarriage(Carriage):
        """Takes its time over each picture and finds a box on it."""

        def _prepared(self, item: tuple[str, int | None]) -> Ready | BackendError:
            return Ready(Picture(_SQUARE_U8, _SIZE_HW, item[0]), _SQUARE_U8)

        def _look(self, ready: Mapping[str, Ready]) -> None:
            self._timed("forward", lambda: time.sleep(ms / 1000 * len(ready)))
            for work in self._works.values():
                for position, one in enumerate(work.looks):
                    if one.address in ready:
                        label = (one.labels[0].value,)
                        score = np.full(1, 0.5, dtype=np.float32)
                        boxes = Boxes(_BOX_XYXY_PX, score, label, _SIZE_HW)
                        work.found[position] = FoundBoxes(one.control.name, one.item_index, boxes)

    return SleepingCarriage


def _warm(settings: Settings, device: str) -> BackboneIdentity:
    backbone: Any = _Asleep()
    return warming.warm(settings, device, backbone=backbone)


def main(count: int, ms: float) -> int:
    """Run so many of them until SIGTERM; the exit status."""
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    setattr(carrier, "Carriage", _carriage(ms))  # noqa: B010 - mypy lets no type be replaced
    children = []
    for number in range(count):
        end = end_with_parent(signal.SIGTERM)
        child = os.fork()
        if child == 0:
            if end is not None:
                end()
            os._exit(run_worker(settings, name=f"asleep-{number}", device="cpu", warm=_warm))
        children.append(child)

    def pass_on(number: int, _frame: object) -> None:
        for child in children:
            os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    for child in children:
        os.waitpid(child, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))

"""What commands hand to the processes they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

from backend.settings import Settings, as_environment

ROOT = Path(__file__).resolve().parents[2]


def child_environment(settings: Settings) -> dict[str, str]:
    """Our environment with these settings; the child imports the same code as we."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **as_environment(settings), "PYTHONPATH": path}


class StopSignals:
    """Notes SIGINT and SIGTERM instead of dying from them; ``stopped`` says whether one came."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def stopped(self) -> bool:
        """Whether we were asked to end."""
        return self._count > 0

    def _note(self, _: int, __: FrameType | None) -> None:
        self._count += 1

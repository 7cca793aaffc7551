"""A process whose wall clock is wrong, as that of a machine is; its steady clock is not."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import rq

MOVED_S = "TEST_CLOCK_MOVED_S"
"""Variable of the environment of a child that calls ``move_clock``."""


def move_clock(seconds: float) -> None:
    """Set this process's wall clock by so much, for us and for RQ."""
    right = time.time
    time.time = lambda: right() + seconds

    def moved(function: Any, by: Any) -> Any:
        return lambda: function() + by

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != rq.__name__:
            continue
        for what, by in (("now", timedelta(seconds=seconds)), ("current_timestamp", int(seconds))):
            if callable(getattr(module, what, None)):
                setattr(module, what, moved(getattr(module, what), by))

"""The one clock that all machines share: Redis's own.

Machines whose clocks differ would disagree on what came first, and a clock that is set would
move what was noted before. Times that another process may read are of this clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

_MEASURED_S = 1.0
"""For so long this machine's steady clock carries on what Redis said."""


class SharedClock:
    """Redis's time in seconds since the epoch; at most one round trip a second. Safe in threads.

    steady_s: seconds that only grow.
    """

    def __init__(
        self, connection: redis.Redis, *, steady_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = connection
        self._steady_s = steady_s
        self._measured: tuple[float, float] | None = None

    def __call__(self) -> float:
        measured = self._measured
        if measured is None or self._steady_s() - measured[0] >= _MEASURED_S:
            seconds, micros = self._redis.time()  # type: ignore[misc, unused-ignore]
            # Read after the reply: rather behind Redis by the trip than ahead of it.
            measured = self._measured = (self._steady_s(), float(seconds) + float(micros) / 1e6)
        return measured[1] + self._steady_s() - measured[0]

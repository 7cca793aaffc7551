"""One child process that is started again when it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from backend.lifeline import end_with_parent

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
QUICK_DEATH_S = 10.0
"""A child that ends sooner after its start is started again with a growing pause."""


class KeptChild:
    """A child in a session of its own, so that Ctrl-C reaches it through us only.

    command: gives the command line for each start. It ends with the thread that calls
    ``start`` or ``poll``: use the main thread.
    """

    def __init__(
        self, name: str, command: Callable[[], Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._command = command
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._quick_deaths = 0
        self._start_at_s: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child; returns at once."""
        self._start_at_s = None
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            list(self._command()),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGTERM),
        )

    def poll(self) -> int | None:
        """The exit status when the child has just ended, else None; starts it when it is time.

        A death after a long life is answered by a start with the next poll, quick ones by
        pauses of 0.5, 1, 2 ... 30 s.
        """
        now_s = time.monotonic()
        if self._process is None:
            if self._start_at_s is not None and now_s >= self._start_at_s:
                self.start()
            return None
        status = self._process.poll()
        if status is None:
            return None
        self._process = None
        lived_s = now_s - self._started_s
        self._quick_deaths = self._quick_deaths + 1 if lived_s < QUICK_DEATH_S else 0
        pause_s = pause_after(self._quick_deaths)
        self._start_at_s = now_s + pause_s
        log.warning("child_ended", child=self.name, status=status, again_in_s=pause_s)
        return status

    def hurry(self) -> None:
        """Start it with the next poll if it waits for that: what ended it is over."""
        if self._start_at_s is not None:
            self._start_at_s, self._quick_deaths = 0.0, 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, until_s: float) -> int | None:
        """Wait until ``time.monotonic()`` passes until_s, then kill; None: it did not run."""
        self._start_at_s = None
        if self._process is None:
            return None
        try:
            status = self._process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("child_killed", child=self.name, pid=self._process.pid)
            self._process.kill()
            status = self._process.wait()
        self._process = None
        return status


def pause_after(quick_deaths: int) -> float:
    """Seconds to wait after so many quick deaths in a row; the first one is forgiven."""
    if quick_deaths <= 1:
        return 0.0
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(quick_deaths - 2, 20)))

"""Children that end when their parent does, even when it was killed.

A process killed with -9 runs no clean-up; on Linux the kernel can signal its children.
Elsewhere children end through their own stop only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` after which the child gets this signal when its parent dies.

    The kernel watches the thread that started the child, not the process: start children
    from a thread that lives as long as they shall, normally the main thread.
    None where the platform has no such thing.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec little is safe
    parent_pid = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before the line above
            os.kill(os.getpid(), number)

    return before_exec

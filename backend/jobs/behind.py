"""Work done in a thread behind the one who goes on with what comes next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType


class Behind:
    """One piece of work at a time, in the order in which it was given.

    What a piece raises is raised to its giver with the next piece, or at the end. A context
    manager: leaving it waits for the last piece, so that nothing is left undone in silence.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _at: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            self.wait()

    def put(self, work: Callable[[], None]) -> None:
        """Have it done behind, once the piece before is done."""
        self.wait()
        # The log lines of a thread name the job as those of its giver do.
        self._last = self._thread.submit(copy_context().run, work)

    def wait(self) -> None:
        """Until nothing is being done. Raises what the last piece raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

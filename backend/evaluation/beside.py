"""Work in a thread beside a block of code, which ends with it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TypeVar

T = TypeVar("T", bound="Beside")


class Beside:
    """A context manager whose ``_run`` goes on until ``_over`` is set, when the block is left."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self: T) -> T:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError

"""Work done in threads ahead of the one who takes the results, in order and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Ahead(Generic[A, R]):
    """Results of ``work`` over items, in their order; at most depth are begun or waiting.

    What waits takes memory, hence the bound. A context manager: leaving it drops what was
    not begun, so that an interrupted job leaves nothing running for long.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, work: Callable[[A], R], items: Iterable[A], depth: int
    ) -> None:
        self._pool, self._work = pool, work
        self._items = iter(items)
        self._waiting: deque[tuple[A, Future[R]]] = deque()
        self._depth = max(1, depth)

    def __enter__(self) -> Ahead[A, R]:
        self._fill()
        return self

    def __exit__(self, *_error: object) -> None:
        for _item, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    @property
    def ended(self) -> bool:
        """Whether every result was taken."""
        return not self._waiting

    def take(self, count: int) -> Sequence[tuple[A, R]]:
        """The next results with their items, at most count; empty at the end.

        Raises what work raised.
        """
        return list(islice(self._results(), count))

    def _results(self) -> Iterator[tuple[A, R]]:
        while self._waiting:
            item, future = self._waiting[0]
            result = future.result()
            self._waiting.popleft()
            self._fill()
            yield item, result

    def _fill(self) -> None:
        for item in islice(self._items, self._depth - len(self._waiting)):
            self._waiting.append((item, self._pool.submit(self._work, item)))

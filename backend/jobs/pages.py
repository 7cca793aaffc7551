"""Label Studio's pages of tasks, each with the moment up to which it may be trusted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

STORING_S = 40.0
"""Label Studio stores a reply row by row, 250 tasks in 36 s: for so long a task may be listed
as lacking what it was answered with."""

T = TypeVar("T")


def dated(pages: Iterable[Sequence[T]]) -> Iterator[tuple[Sequence[T], float]]:
    """Each page with a time, on the monotonic clock: what was answered after it may be missing
    from the page. The pages are asked for one by one.
    """
    asked = iter(pages)
    while True:
        known_s = time.monotonic() - STORING_S
        page = next(asked, None)
        if page is None:
            return
        yield page, known_s

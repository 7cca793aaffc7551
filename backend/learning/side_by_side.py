"""Two like pieces of work on two cores: the two ways round of a picture."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(made: Callable[[T], R], one: T, other: T) -> tuple[R, R]:
    """made(one) and made(other), the second in a thread of its own.

    For functions of arrays, which free the interpreter while they compute: each runs on one
    core, so that the bytes of the results do not depend on how many there are.
    """
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(made, other)
        return made(one), later.result()

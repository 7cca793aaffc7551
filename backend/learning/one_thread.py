"""Arithmetic on one thread, so that the same input gives the same bytes on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP use the calling thread alone.

    Sums over several threads are rounded in another order, and trees split elsewhere. The
    loops of a fit are also too short to be shared: where another process wants the cores,
    threads spend their time waiting for each other.
    """
    import sklearn.ensemble  # noqa: F401 - brings an OpenMP of its own, to be limited too

    with threadpool_limits(limits=1):
        yield

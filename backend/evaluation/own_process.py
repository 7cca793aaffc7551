"""A process of its own for one side of a comparison, started with its own environment.

How torch uses threads and memory is decided before it is imported, and what one side
loads (or sets in the C library) would help or hinder the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from backend.logs import configure_logs

_DECIDED_HERE = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")


@contextmanager
def own_process(environment: Mapping[str, str]) -> Iterator[Executor]:
    """One process that runs what is submitted, in turn; it ends with the block, or with us.

    environment: what decides about threads and memory there, none of ours beside it.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_settle) as pool:
        with _environment(environment):
            pool.submit(_nothing).result()
        yield pool


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in _DECIDED_HERE if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def _settle() -> None:
    configure_logs("warning", "text")  # to stderr: stdout is the command's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """Have the process started."""

"""How many pictures the device has room for at once, found out when it has none for more.

What a forward pass takes depends on the network, on the picture's side, on the method and on
who else uses the device: nobody can tell in advance. So a batch that has no room is done again
in halves, and the process remembers what fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
import torch

from backend.errors import OutOfMemory
from backend.store.counters import Counters

log = structlog.get_logger(__name__)

HALVED = "batches_halved"
"""Counter of batches for which there was no room."""

_TOLD_OTHERWISE = ("ALLOC_FAILED", "can't allocate memory")
"""How libraries beneath torch say the same, in a plain RuntimeError."""

T = TypeVar("T")


class Room:
    """Of one process with one device; used by one thread.

    most: pictures worked on at once; it only shrinks, so that nothing fails twice for the
    same reason. A new process begins anew.
    """

    def __init__(self, most: int, counters: Counters) -> None:
        self.most = most
        self._counters = counters

    def use(self, items: Sequence[T], work: Callable[[Sequence[T]], object]) -> list[T]:
        """Have work done on all items, in order; returns those that have no room even alone.

        work: is given as many as there is room for, and again fewer of the same where there
        was none; whatever else it raises is raised.
        """
        left, too_large = list(items), []
        while left:
            part = left[: self.most]
            if not _fits(part, work):
                if len(part) > 1:
                    self._halve(len(part))
                    continue
                log.error("device_has_no_room", pictures=1)
                too_large += part
            del left[: len(part)]
        return too_large

    def use_all(self, items: Sequence[T], work: Callable[[Sequence[T]], object]) -> None:
        """The same where none may be left out. Raises: OutOfMemory."""
        if self.use(items, work):
            raise no_room()

    def _halve(self, pictures: int) -> None:
        self.most = pictures // 2
        log.warning("device_has_no_room", pictures=pictures, from_now_on=self.most)
        self._counters.add(HALVED)


def no_room() -> OutOfMemory:
    """What is said of a picture that has no room even alone."""
    return OutOfMemory(
        "The device has no memory for even one picture.",
        "Free it of other programs, run fewer workers on it, or choose a smaller BACKBONE.",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(told in str(error) for told in _TOLD_OTHERWISE)


def _fits(part: Sequence[T], work: Callable[[Sequence[T]], object]) -> bool:
    try:
        work(part)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Only here has the error let go of the tensors that its trace held.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False

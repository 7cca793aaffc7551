"""The pictures that annotators point at, ready in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from backend.domain import Picture
from backend.learning.pointed import Pointable

MOST_PICTURES = 16
"""A megabyte each and features as much again; somebody works on each of them."""

KEPT_S = 600.0
"""After this a picture is fetched again: what lies behind an address may change."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture with what is known of it."""

    picture: Picture
    pointable: Pointable


class RecentPictures:
    """The pictures used last, by project and address. It belongs to one thread.

    now_s: a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._kept: OrderedDict[tuple[str, str], tuple[float, Seen]] = OrderedDict()

    def get(self, project_id: str, address: str) -> Seen | None:
        """The picture, None where it is not kept or was fetched too long ago."""
        key = (project_id, address)
        found = self._kept.get(key)
        if found is None or self._now_s() - found[0] > KEPT_S:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, project_id: str, address: str, seen: Seen) -> None:
        """Keep a picture in place of the one used longest ago."""
        self._kept[project_id, address] = (self._now_s(), seen)
        self._kept.move_to_end((project_id, address))
        while len(self._kept) > MOST_PICTURES:
            self._kept.popitem(last=False)

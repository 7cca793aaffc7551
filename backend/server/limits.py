"""How much work one address may ask for in a minute.

Only what costs workers' time is counted: tasks to be predicted, pictures of /explain. Label
Studio sends everything of all its annotators from one address, so the bounds lie far above
what a team needs and exist for scripts run wild.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request

from backend.errors import TooManyCalls
from backend.settings import Settings

MOST_ADDRESSES = 4096
"""Addresses remembered; the one that was silent longest is forgotten first."""

_MINUTE_S = 60.0


class Limit:
    """A bucket an address: it holds a minute's worth and fills up evenly. Safe for threads.

    what: what is counted, for people. a_minute: how many; 0 for no bound. setting: its name.
    clock: seconds that only grow.
    """

    def __init__(
        self,
        what: str,
        a_minute: int,
        setting: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._a_minute = a_minute
        self._setting = setting
        self._clock = clock
        self._lock = threading.Lock()
        # Per address: how many are left, and when that was so. Longest silent first.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Addresses remembered at the moment."""
        return len(self._left)

    def take(self, address: str, count: int) -> None:
        """Count so many. A full bucket takes any call, also one of more than it holds.

        Raises: TooManyCalls, with the time after which the same call is taken.
        """
        if not self._a_minute or not count:
            return
        a_second = self._a_minute / _MINUTE_S
        with self._lock:
            now_s = self._clock()
            left, then_s = self._left.pop(address, (float(self._a_minute), now_s))
            left = min(self._a_minute, left + (now_s - then_s) * a_second)
            wanted = min(count, self._a_minute)
            enough = left >= wanted
            self._left[address] = (left - count if enough else left, now_s)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)
        if not enough:
            raise TooManyCalls(
                f"More than {self._a_minute} {self._what} were asked for within a minute.",
                f"Wait as long as Retry-After says, or raise {self._setting}.",
                math.ceil((wanted - left) / a_second),
            )


class Limits:
    """The limits of one server process."""

    def __init__(self, settings: Settings) -> None:
        self.tasks = Limit("tasks", settings.tasks_per_minute, "TASKS_PER_MINUTE")
        self.explanations = Limit("explanations", settings.explain_per_minute, "EXPLAIN_PER_MINUTE")


def caller(request: Request) -> str:
    """Whom a request is counted for: its address, of IPv6 the network that one host owns."""
    host = request.client.host if request.client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a unix socket has none
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))

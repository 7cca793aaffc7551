"""A process of a release that does not exist yet: its data is of schema 2.

Arguments: the address of a Redis; then where to halt: "never", or "middle", after half of
the keys have been carried over. Prints the label configuration it reads of project 1.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import redis

from backend.logs import configure_logs
from backend.store import keys, migrations
from backend.store.connection import connect

RENAMED = """
    local address = redis.call('HGET', old, 'hostname')
    if address then
      redis.call('HSET', old, 'address', address)
      redis.call('HDEL', old, 'hostname')
    end
"""


def become(halt: str = "never") -> None:
    """From now on this process is of that release."""
    keys.SCHEMA = 2
    keys._PREFIX = keys.prefix(2)

    @migrations.migration(2)
    def _address(step: migrations.Step) -> None:
        step.carry("project:*", change=RENAMED)
        if halt == "middle":
            tell("halted")
            signal.pause()
        step.carry("ledger:*")
        step.carry("heads:*")


def tell(line: str) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Connect, which migrates, and read."""
    url, halt = sys.argv[1:]
    configure_logs("info", "text")
    become(halt)
    with connect(url) as connection:
        read: Any = connection.hgetall(keys.project("1"))
        tell(read[b"address"].decode())


if __name__ == "__main__":
    try:
        main()
    except redis.RedisError as error:
        sys.exit(str(error))

"""Bringing an older store to our schema, a registered step from each number to the next.

The names of all data carry their schema's number. A step gives a key its new name and its
new content in one script, so that a key is either old and whole or new and whole; killed
anywhere, the step goes on with what is left. Meanwhile the schema's key holds ``1>2``, a
number that no release takes for its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from redis.exceptions import LockError
from redis.lock import Lock

from backend.errors import StoreUnavailable
from backend.store import keys

log = structlog.get_logger(__name__)

_LOCK_S = 30.0
"""A migration killed in the middle is taken up by another process after this."""
_PATIENCE_S = 60.0
_POLL_S = 0.05
_BATCH = 500
_NAME = "lsb-schema-"

_MOVE = """
-- KEYS: old names, then new ones in the same order.
local count = #KEYS / 2
for i = 1, count do
  local old, new = KEYS[i], KEYS[count + i]
  if redis.call('EXISTS', old) == 1 then %s end
  if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, new) end
end
"""

_SET_IF = """
-- KEYS: the schema's key. ARGV: what it has to hold, '' for nothing; what it holds then.
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Step:
    """The way of a store from schema number - 1 to number. Used by the functions registered."""

    number: int
    connection: redis.Redis
    lock: Lock

    def carry(self, kind: str = "*", change: str = "") -> int:
        """Take what lies under these names over into the new schema; returns how many keys.

        kind: pattern of the names behind the schema's prefix. change: Lua statements that
        change the key ``old`` before it gets its name ``new``; both happen or neither does.
        A key that they delete is gone.
        """
        script = _MOVE % change
        old, new = keys.prefix(self.number - 1), keys.prefix(self.number)
        moved = 0
        for names in _batches(self.connection, f"{old}{kind}"):
            renamed = [new + name.removeprefix(old) for name in names]
            self.connection.eval(script, 2 * len(names), *names, *renamed)
            self.lock.reacquire()  # a large store takes longer than the lock lasts
            moved += len(names)
        return moved


Migration = Callable[[Step], None]
"""Carries over what is to be kept, the rest is dropped after it; may be run again at any time."""

MIGRATIONS: dict[int, Migration] = {}
"""By the number that a migration leads to. Schema 1 is the first: nothing leads to it."""


def migration(number: int) -> Callable[[Migration], Migration]:
    """Register the step that leads to this number. Raises: ValueError where there is one."""

    def add(function: Migration) -> Migration:
        if number in MIGRATIONS:
            raise ValueError(f"a migration to schema {number} is registered already")
        MIGRATIONS[number] = function
        return function

    return add


def connection_name() -> str:
    """What a connection of this release is called in Redis's list of clients."""
    return f"{_NAME}{keys.SCHEMA}"


def bring_up(connection: redis.Redis, where: str) -> None:
    """See to it that the data is of our schema.

    where: the Redis, as it may be told. Migrates an older store; of several processes one
    does, the others wait. Raises: StoreUnavailable where the data is newer, where processes
    of another release are still connected, or where another one takes long to migrate.
    """
    lock = connection.lock(keys.MIGRATION_LOCK, timeout=_LOCK_S)
    until_s = time.monotonic() + _PATIENCE_S
    while (found := _number(connection)) != str(keys.SCHEMA):
        _require_not_newer(found, where)
        if lock.acquire(blocking=False):
            _migrate_and_release(connection, lock, where)
            return
        if time.monotonic() > until_s:
            raise StoreUnavailable(
                f"The data in Redis at {where} is being migrated by another process.",
                "Wait until it has finished, then start this again.",
            )
        time.sleep(_POLL_S)


def _migrate_and_release(connection: redis.Redis, lock: Lock, where: str) -> None:
    try:
        _migrate(connection, lock, where)
    except LockError as error:
        raise StoreUnavailable(
            f"Another process took over the migration of the data in Redis at {where}: {error}.",
            "Start this again: it waits for the other one.",
        ) from error
    finally:
        if lock.owned():
            lock.release()


def _migrate(connection: redis.Redis, lock: Lock, where: str) -> None:
    found = _number(connection) or _stamp(connection, where)
    settled, _, begun = found.partition(">")
    for number in range(int(settled) + 1, keys.SCHEMA + 1):
        before, under_way = str(number - 1), f"{number - 1}>{number}"
        _require_alone(connection, before, where)
        if not begun:
            _set(connection, before, under_way)
            try:
                # Once more: whoever comes after the line above is refused by what it finds.
                _require_alone(connection, before, where)
            except StoreUnavailable:
                _set(connection, under_way, before)
                raise
        begun = ""
        log.info("store_migrating", from_schema=number - 1, to_schema=number)
        MIGRATIONS[number](Step(number, connection, lock))
        for names in _batches(connection, f"{keys.prefix(number - 1)}*"):
            log.warning("store_keys_dropped", schema=number - 1, keys=len(names))
            connection.unlink(*names)
        _set(connection, under_way, str(number))
        log.info("store_migrated", schema=number)


def _stamp(connection: redis.Redis, where: str) -> str:
    """Write the number that is missing: ours into an empty store, else the one in the names."""
    numbers: set[int] = set()
    for names in _batches(connection, keys.EVERY_NUMBERED):
        heads = (name.split(":", 2)[1] for name in names)
        numbers.update(int(head) for head in heads if head.isdecimal())
    _require_not_newer(str(max(numbers, default=keys.SCHEMA)), where)
    # Names of two schemas: a migration was under way, and goes on from the older one.
    number = str(min(numbers, default=keys.SCHEMA))
    _set(connection, "", number)
    return number


def _number(connection: redis.Redis) -> str:
    found: Any = connection.get(keys.SCHEMA_KEY)
    return "" if found is None else bytes(found).decode(errors="replace")


def _set(connection: redis.Redis, before: str, after: str) -> None:
    if not connection.eval(_SET_IF, 1, keys.SCHEMA_KEY, before, after):
        raise LockError(f"another process changed the schema from {before!r}")


def _require_alone(connection: redis.Redis, schema: str, where: str) -> None:
    """Raises: StoreUnavailable where connections name another schema than ours."""
    try:
        clients: Any = connection.client_list()
    except redis.ResponseError:
        return  # not allowed here; the page on upgrades says to stop all processes first
    others = sorted(
        client["addr"]
        for client in clients
        if client.get("name", "").startswith(_NAME) and client["name"] != connection_name()
    )
    if others:
        raise StoreUnavailable(
            f"The data in Redis at {where} is of schema {schema} and has to be migrated, but "
            f"processes of another release are still connected ({', '.join(others)}).",
            "Stop every server, worker and command of the other release, then start this again.",
        )


def _batches(connection: redis.Redis, pattern: str) -> Iterator[list[str]]:
    """Names that match, until none is left or each was given once."""
    batch: list[str] = []
    for name in connection.scan_iter(match=pattern, count=_BATCH):
        batch.append(bytes(name).decode())
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _require_not_newer(found: str, where: str) -> None:
    """found: "" where there is no number yet, ``1>2`` during a migration."""
    parts = found.split(">") if found else []
    if all(part.isdecimal() and int(part) <= keys.SCHEMA for part in parts):
        return
    raise StoreUnavailable(
        f"Redis at {where} holds data of schema {found}, this version reads schema {keys.SCHEMA}.",
        "Run the version that wrote it, or give this one an empty Redis: another database "
        "number in REDIS_URL, or another DATA_DIR. A backup that this version can read is "
        "brought back by `python -m backend restore`.",
    )

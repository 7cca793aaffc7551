"""The bytes of each project's ledger: annotations in the state that was reported last.

Reports come twice, late, or in any order. A record carries an order (text that compares as
the records' age does), the greatest order wins, and a deletion leaves a tombstone, so that
a late report of what was deleted does not bring it back. Every change is one script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from backend.store import keys

TOMBSTONE_DAYS = 30
MOST_TOMBSTONES = 100_000

_PARTS = ("records", "shown", "tasks", "gone", "changed", "state", "hashes")

# KEYS: the parts of one project in order, then the set of projects that are due.
# A record is <order> <task> <counts> <seen at> <JSON>, a task <order> <JSON>.
_HEAD = """
local records, shown, tasks, gone = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local changed, state, due = KEYS[5], KEYS[6], KEYS[8]
local clock = redis.call('TIME')
local now_s = clock[1] + clock[2] / 1000000
local touched = 0
local function parsed(record)
  if not record then return nil end
  local order, task, counts, at = string.match(record, '^(%S+) (%d+) (%d) (%S+) ')
  return {order = order, task = task, counts = counts, at = tonumber(at)}
end
local function touch(id)
  touched = touched + 1
  redis.call('SADD', changed, id)
  redis.call('HSET', state, 'changed_at', string.format('%.6f', now_s))
  redis.call('SADD', due, ARGV[1])
end
local function bury(name)
  redis.call('ZADD', gone, string.format('%.6f', now_s), name)
end
local function remove(id, record)
  redis.call('HDEL', records, id)
  redis.call('HDEL', shown, id)
  if record.counts == '1' then touch(id) end
end
"""

_PUT = """
-- ARGV: project, began_s or '', number of tasks, then task, order, data in turn,
-- then annotation, task, order, counts, record, shown in turn.
-- began_s: when the caller began to read the truth; what was buried earlier lives again.
local function buried(name)
  local at = redis.call('ZSCORE', gone, name)
  if not at then return false end
  if ARGV[2] == '' or tonumber(at) >= tonumber(ARGV[2]) then return true end
  redis.call('ZREM', gone, name)
  return false
end
local first = 4 + 3 * ARGV[3]
for i = 4, first - 1, 3 do
  if not buried('t' .. ARGV[i]) then
    local before = redis.call('HGET', tasks, ARGV[i])
    if not before or string.match(before, '^%S+') < ARGV[i + 1] then
      redis.call('HSET', tasks, ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
    end
  end
end
for i = first, #ARGV, 6 do
  local id, task, order, counts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if not (buried('a' .. id) or buried('t' .. task)) then
    local before = parsed(redis.call('HGET', records, id))
    if not before or before.order < order then
      local head = order .. ' ' .. task .. ' ' .. counts .. ' ' .. string.format('%.6f', now_s)
      redis.call('HSET', records, id, head .. ' ' .. ARGV[i + 4])
      if counts == '1' or (before and before.counts == '1') then touch(id) end
    end
    -- What was shown does not change; where two reports differ, one of them is chosen.
    local had = redis.call('HGET', shown, id)
    if ARGV[i + 5] ~= '' and (not had or had < ARGV[i + 5]) then
      redis.call('HSET', shown, id, ARGV[i + 5])
    end
  end
end
return touched
"""

_BURY = """
-- ARGV: project, keep_s, most, then a<annotation> or t<task>.
for i = 4, #ARGV do
  bury(ARGV[i])
  local kind, id = string.sub(ARGV[i], 1, 1), string.sub(ARGV[i], 2)
  if kind == 'a' then
    local record = parsed(redis.call('HGET', records, id))
    if record then remove(id, record) end
  elseif redis.call('HDEL', tasks, id) == 1 then
    local all = redis.call('HGETALL', records)
    for j = 1, #all, 2 do
      local record = parsed(all[j + 1])
      if record.task == id then remove(all[j], record) end
    end
  end
end
redis.call('ZREMRANGEBYSCORE', gone, '-inf', now_s - ARGV[2])
redis.call('ZREMRANGEBYRANK', gone, 0, -ARGV[3] - 1)
return touched
"""

_KEEP_ONLY = """
-- ARGV: project, began_s, then the annotations there are. What came in since stays.
local there = {}
for i = 3, #ARGV do there[ARGV[i]] = true end
local kept_tasks = {}
local all = redis.call('HGETALL', records)
for j = 1, #all, 2 do
  local record = parsed(all[j + 1])
  if there[all[j]] or record.at >= tonumber(ARGV[2]) then
    kept_tasks[record.task] = true
  else
    bury('a' .. all[j])
    remove(all[j], record)
  end
end
for _, task in ipairs(redis.call('HKEYS', tasks)) do
  if not kept_tasks[task] then redis.call('HDEL', tasks, task) end
end
return touched
"""

_TAKE = """
-- ARGV: project. How many annotations changed; from now on they count as learned.
local count = redis.call('SCARD', changed)
redis.call('DEL', changed)
redis.call('SREM', due, ARGV[1])
return count
"""

_CHANGES = """
-- ARGV: project. Number of changes, seconds since the last.
local at = redis.call('HGET', state, 'changed_at')
local count = redis.call('SCARD', changed)
return {count, tostring(at and now_s - at or 0)}
"""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task's data as JSON; order: greater for a newer state."""

    task_id: int
    order: str
    data: bytes


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """An annotation's record as JSON.

    order: greater for a newer state, without spaces. counts: whether it teaches anything.
    shown: the prediction it was made with, empty where unknown.
    """

    annotation_id: int
    task_id: int
    order: str
    counts: bool
    record: bytes
    shown: bytes = b""


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """A whole ledger. data_of: task id -> JSON."""

    annotations: list[AnnotationRow] = field(default_factory=list)
    data_of: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a training would learn anew: how many annotations, and how long it has been quiet."""

    count: int
    quiet_s: float


class LedgerStore:
    """The ledgers of all projects. Each method is one round trip; times are Redis's own."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._put = connection.register_script(_HEAD + _PUT)
        self._bury = connection.register_script(_HEAD + _BURY)
        self._keep_only = connection.register_script(_HEAD + _KEEP_ONLY)
        self._take = connection.register_script(_HEAD + _TAKE)
        self._changes = connection.register_script(_HEAD + _CHANGES)

    def put(
        self,
        project_id: str,
        tasks: Sequence[TaskRow],
        annotations: Sequence[AnnotationRow],
        *,
        began_s: float | None = None,
    ) -> int:
        """Note these states where they are newer; returns how many annotations changed.

        began_s: given by who reads the truth, the time at which he began to: what was
        reported deleted before that and is there all the same is taken up again.
        """
        arguments: list[Any] = ["" if began_s is None else repr(began_s), len(tasks)]
        for task in tasks:
            arguments += [task.task_id, task.order, task.data]
        for row in annotations:
            arguments += [row.annotation_id, row.task_id, row.order, int(row.counts)]
            arguments += [row.record, row.shown]
        return int(self._run(self._put, project_id, arguments))

    def bury(
        self, project_id: str, *, annotations: Sequence[int] = (), tasks: Sequence[int] = ()
    ) -> int:
        """Forget deleted annotations, and tasks with all of theirs; returns how many changed."""
        names = [*(f"a{number}" for number in annotations), *(f"t{number}" for number in tasks)]
        keep_s = TOMBSTONE_DAYS * 24 * 3600
        return int(self._run(self._bury, project_id, [keep_s, MOST_TOMBSTONES, *names]))

    def keep_only(self, project_id: str, annotations: Sequence[int], began_s: float) -> int:
        """Forget what is not among these, but for what was reported since began_s."""
        return int(self._run(self._keep_only, project_id, [repr(began_s), *annotations]))

    def read(self, project_id: str) -> LedgerRows:
        """The whole ledger, by ascending annotation id."""
        with self._redis.pipeline() as pipe:
            for part in ("records", "shown", "tasks"):
                pipe.hgetall(keys.ledger(project_id, part))
            records, shown, tasks = pipe.execute()
        return rows_of(records, shown, tasks)

    def changes(self, project_id: str) -> Changes:
        """What has changed since the last ``take_changes``."""
        count, quiet_s = self._run(self._changes, project_id, [])
        return Changes(int(count), float(quiet_s))

    def take_changes(self, project_id: str) -> int:
        """Begin to learn: how many annotations changed, which then count as learned."""
        return int(self._run(self._take, project_id, []))

    def changed_projects(self) -> list[str]:
        """Projects with something to learn."""
        found: Any = self._redis.smembers(keys.ledger_due())
        return sorted(item.decode() for item in found)

    def now_s(self) -> float:
        """Redis's clock, by which ``began_s`` is told."""
        seconds, micros = self._redis.time()  # type: ignore[misc, unused-ignore]
        return float(seconds) + float(micros) / 1e6

    def hashes(self, project_id: str, addresses: Sequence[str]) -> dict[str, str]:
        """Content hash by address, of the pictures that were fetched before."""
        if not addresses:
            return {}
        found: Any = self._redis.hmget(keys.ledger(project_id, "hashes"), list(addresses))
        return {
            address: value.decode()
            for address, value in zip(addresses, found, strict=True)
            if value is not None
        }

    def remember_hashes(self, project_id: str, hash_of: Mapping[str, str]) -> None:
        """Note the content hash of fetched pictures by their address."""
        mapping: dict[Any, Any] = dict(hash_of)
        if mapping:
            self._redis.hset(keys.ledger(project_id, "hashes"), mapping=mapping)

    def synced_state(self, project_id: str) -> str:
        """What ``remember_synced`` noted last, "" where nothing was."""
        found: Any = self._redis.hget(keys.ledger_synced(), keys.project_id_of(project_id))
        return "" if found is None else bytes(found).decode()

    def remember_synced(self, project_id: str, state: str) -> None:
        """Note the state of Label Studio that the ledger now shows."""
        self._redis.hset(keys.ledger_synced(), keys.project_id_of(project_id), state)

    def _run(self, script: Any, project_id: str, arguments: Sequence[Any]) -> Any:
        project_id = keys.project_id_of(project_id)
        names = [keys.ledger(project_id, part) for part in _PARTS] + [keys.ledger_due()]
        return script(keys=names, args=[project_id, *arguments])


def rows_of(
    records: Mapping[bytes, bytes], shown: Mapping[bytes, bytes], tasks: Mapping[bytes, bytes]
) -> LedgerRows:
    """The parts as Redis keeps them, read. Raises: ValueError, IndexError."""
    annotations = []
    for name, value in sorted(records.items(), key=lambda item: int(item[0])):
        order, task_id, counts, _at, record = value.split(b" ", 4)
        annotations.append(
            AnnotationRow(
                int(name),
                int(task_id),
                order.decode(),
                counts == b"1",
                record,
                shown.get(name, b""),
            )
        )
    return LedgerRows(
        annotations, {int(name): value.split(b" ", 1)[1] for name, value in tasks.items()}
    )

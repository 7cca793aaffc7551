"""Each prediction of a task and version reaches Label Studio once, in a reply or by a push.

A task that a reply left out is *pending*. A pusher *claims* it, imports it and reports it
*pushed*. A later reply may hold the task only while nobody pushes it. Every operation is
one script in Redis, so that replies and pushers of several processes see one order.

A record is kept as ``<task id>:<version>``; a pending one by task alone, because a newer
version takes the place of an older one that nobody has fetched yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from backend.store import keys
from backend.store.clock import SharedClock

KEEP_S = 3600
"""How long it is remembered that a prediction was pushed or answered."""

SEEN_AFTER_S = 2.0
"""Label Studio decides what it lacks up to this long before its request reaches us."""

_PARTS = ("pending", "pending:of", "claimed", "claimed:of", "pushed", "inline", "wanted")

# Shared by all scripts. KEYS: the parts of one project in order, then the set of projects.
# ARGV[1] is the project's id. "of" hashes hold <order> <version> <key> and <order> <key>;
# "wanted" holds the key of what was deferred again while a pusher held it.
_HEAD = """
local pending, pending_of, claimed, claimed_of = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pushed, inline, wanted = KEYS[5], KEYS[6], KEYS[7]
local function list_project()
  if redis.call('ZCARD', pending) + redis.call('ZCARD', claimed) > 0 then
    redis.call('SADD', KEYS[8], ARGV[1])
  else
    redis.call('SREM', KEYS[8], ARGV[1])
  end
end
local function remember(where, member, at_s)
  redis.call('ZADD', where, at_s, member)
end
local function forget_old(where, now_s, keep_s)
  redis.call('ZREMRANGEBYSCORE', where, '-inf', now_s - keep_s)
  redis.call('EXPIRE', where, keep_s)
end
local function release(member)
  redis.call('ZREM', claimed, member)
  redis.call('HDEL', claimed_of, member)
  redis.call('HDEL', wanted, member)
end
local function add_pending(task, order, version, key)
  redis.call('ZADD', pending, order, task)
  redis.call('HSET', pending_of, task, order .. ' ' .. version .. ' ' .. key)
end
"""

_DEFER = """
-- ARGV: project, version, asked_at_s or '', seen_after_s, then task and key in turn.
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
for i = 5, #ARGV, 2 do
  local member = ARGV[i] .. ':' .. ARGV[2]
  local skip = redis.call('HEXISTS', claimed_of, member) == 1
  if skip then
    redis.call('HSET', wanted, member, ARGV[i + 1])
  end
  if not skip and ARGV[3] ~= '' then
    local pushed_at = redis.call('ZSCORE', pushed, member)
    local inline_at = redis.call('ZSCORE', inline, member)
    local since_s = ARGV[3] - ARGV[4]
    skip = (pushed_at and tonumber(pushed_at) > since_s)
      or (inline_at and tonumber(inline_at) > tonumber(ARGV[3]))
  end
  local before = redis.call('HGET', pending_of, ARGV[i])
  if not skip and not (before and string.match(before, '^%d+ (%S+) ') == ARGV[2]) then
    add_pending(ARGV[i], string.format('%.0f', now_us + i), ARGV[2], ARGV[i + 1])
  end
end
list_project()
"""

_TAKE_INLINE = """
-- ARGV: project, version, asked_at_s, seen_after_s, keep_s, now_s, then tasks.
local taken = {}
for i = 7, #ARGV do
  local member = ARGV[i] .. ':' .. ARGV[2]
  local pushed_at = redis.call('ZSCORE', pushed, member)
  local underway = redis.call('HEXISTS', claimed_of, member) == 1
  if not underway and not (pushed_at and tonumber(pushed_at) > ARGV[3] - ARGV[4]) then
    redis.call('ZREM', pending, ARGV[i])
    redis.call('HDEL', pending_of, ARGV[i])
    remember(inline, member, ARGV[6])
    taken[#taken + 1] = ARGV[i]
  end
end
forget_old(inline, ARGV[6], ARGV[5])
list_project()
return taken
"""

_CLAIM = """
-- ARGV: project, limit, now_s. Returns task, version, key in turn.
local got = {}
for _, task in ipairs(redis.call('ZRANGE', pending, 0, ARGV[2] - 1)) do
  local detail = redis.call('HGET', pending_of, task)
  local order, version, key = string.match(detail, '^(%d+) (%S+) (.*)$')
  local member = task .. ':' .. version
  redis.call('ZREM', pending, task)
  redis.call('HDEL', pending_of, task)
  redis.call('ZADD', claimed, ARGV[3], member)
  redis.call('HSET', claimed_of, member, order .. ' ' .. key)
  got[#got + 1] = task
  got[#got + 1] = version
  got[#got + 1] = key
end
list_project()
return got
"""

_FINISHED = """
-- ARGV: project, now_s, keep_s, then members.
for i = 4, #ARGV do
  release(ARGV[i])
  remember(pushed, ARGV[i], ARGV[2])
end
forget_old(pushed, ARGV[2], ARGV[3])
list_project()
"""

_DROP = """
-- ARGV: project, then members.
for i = 2, #ARGV do
  local detail = redis.call('HGET', claimed_of, ARGV[i])
  local key = redis.call('HGET', wanted, ARGV[i])
  release(ARGV[i])
  local task, version = string.match(ARGV[i], '^(%-?%d+):(.*)$')
  if detail and key and redis.call('HEXISTS', pending_of, task) == 0 then
    add_pending(task, string.match(detail, '^(%d+)'), version, key)
  end
end
list_project()
"""

_GIVE_BACK = """
-- ARGV: project, then members.
for i = 2, #ARGV do
  local detail = redis.call('HGET', claimed_of, ARGV[i])
  if detail then
    release(ARGV[i])
    local task, version = string.match(ARGV[i], '^(%-?%d+):(.*)$')
    if redis.call('HEXISTS', pending_of, task) == 0 then
      local order, key = string.match(detail, '^(%d+) (.*)$')
      add_pending(task, order, version, key)
    end
  end
end
list_project()
"""

_STALE = """
-- ARGV: project, until_s, now_s. Returns member and detail in turn, claimed anew at now_s:
-- of two pushers that look, one gets them.
local got = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', claimed, '-inf', '(' .. ARGV[2])) do
  redis.call('ZADD', claimed, ARGV[3], member)
  got[#got + 1] = member
  got[#got + 1] = redis.call('HGET', claimed_of, member)
end
return got
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A prediction that its holder alone may push. key: where it lies in the prediction cache."""

    task_id: int
    version: str
    key: str


class Deliveries:
    """Who brings which prediction to Label Studio; times are seconds since the epoch, Redis's."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._clock = SharedClock(connection)
        self._defer = connection.register_script(_HEAD + _DEFER)
        self._take_inline = connection.register_script(_HEAD + _TAKE_INLINE)
        self._claim = connection.register_script(_HEAD + _CLAIM)
        self._finished = connection.register_script(_HEAD + _FINISHED)
        self._drop = connection.register_script(_HEAD + _DROP)
        self._give_back = connection.register_script(_HEAD + _GIVE_BACK)
        self._stale = connection.register_script(_HEAD + _STALE)

    def defer(
        self,
        project_id: str,
        version: str,
        items: Mapping[int, str],
        *,
        asked_at_s: float | None = None,
    ) -> None:
        """Note that these tasks (task id -> cache key) were not answered and are to be pushed.

        asked_at_s: when the request came in; a task that another reply or push has brought
        since then is left out. Tasks already waiting keep their place.
        """
        if not items:
            return
        asked = "" if asked_at_s is None else repr(asked_at_s)
        pairs = [part for task_id, key in items.items() for part in (task_id, key)]
        self._run(self._defer, project_id, [version, asked, SEEN_AFTER_S, *pairs])

    def take_inline(
        self,
        project_id: str,
        version: str,
        task_ids: Iterable[int],
        asked_at_s: float,
        now_s: float | None = None,
    ) -> set[int]:
        """The tasks that the reply to a request of asked_at_s may hold; they wait no longer.

        Left out are those that a pusher holds, and those pushed so late that Label Studio
        did not know when it asked. One pushed earlier and asked for again was lost or
        deleted there: the reply may hold it.
        """
        wanted = list(task_ids)
        if not wanted:
            return set()
        now_s = self._clock() if now_s is None else now_s
        arguments = [version, repr(asked_at_s), SEEN_AFTER_S, KEEP_S, repr(now_s), *wanted]
        return {int(task) for task in self._run(self._take_inline, project_id, arguments)}

    def claim(self, project_id: str, limit: int, now_s: float) -> list[Claimed]:
        """At most limit pending predictions, oldest first, now held by the caller alone."""
        if limit < 1:
            return []
        found = self._run(self._claim, project_id, [limit, repr(now_s)])
        text = [part.decode() for part in found]
        return [
            Claimed(int(task), version, key)
            for task, version, key in zip(text[::3], text[1::3], text[2::3], strict=True)
        ]

    def finished(self, project_id: str, claimed: Sequence[Claimed], now_s: float) -> None:
        """Report that Label Studio has these."""
        if claimed:
            self._run(self._finished, project_id, [repr(now_s), KEEP_S, *map(_member, claimed)])

    def drop(self, project_id: str, claimed: Sequence[Claimed]) -> None:
        """Forget these, but for what was deferred again while the caller held it."""
        if claimed:
            self._run(self._drop, project_id, [*map(_member, claimed)])

    def give_back(self, project_id: str, claimed: Sequence[Claimed]) -> None:
        """Let others push these, in their old place; only when surely none was stored."""
        if claimed:
            self._run(self._give_back, project_id, [*map(_member, claimed)])

    def stale_claims(
        self, project_id: str, older_than_s: float, now_s: float | None = None
    ) -> list[Claimed]:
        """Claims held for longer than older_than_s seconds, now held by the caller.

        Their pusher died, or its reply was lost: whether Label Studio has them is unknown,
        ask it before pushing again.
        """
        now_s = self._clock() if now_s is None else now_s
        found = self._run(self._stale, project_id, [repr(now_s - older_than_s), repr(now_s)])
        text = [part.decode() for part in found]
        stale = []
        for member, detail in zip(text[::2], text[1::2], strict=True):
            task, version = member.split(":", 1)
            stale.append(Claimed(int(task), version, detail.split(" ", 1)[1]))
        return stale

    def pending_count(self, project_id: str) -> int:
        """Predictions that nobody has fetched for a push yet."""
        found: Any = self._redis.zcard(keys.deliveries(project_id, "pending"))
        return int(found)

    def projects_with_pending(self) -> list[str]:
        """Projects with predictions to push, claimed ones included: their pusher may be dead."""
        found: Any = self._redis.smembers(keys.projects_with_deliveries())
        return sorted(item.decode() for item in found)

    def _run(self, script: Any, project_id: str, arguments: Sequence[Any]) -> Any:
        names = [keys.deliveries(project_id, part) for part in _PARTS]
        names.append(keys.projects_with_deliveries())
        return script(keys=names, args=[keys.project_id_of(project_id), *arguments])


def _member(claimed: Claimed) -> str:
    return f"{claimed.task_id}:{claimed.version}"

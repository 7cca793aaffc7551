"""Who does which part of a video that several workers share, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from backend.store import keys

_PLAN = "plan"
_TAKER, _DONE, _LOOKS = "taker", "done", "looks"
"""Kinds of fields, each with the number of a part behind a colon."""

_KEEP_S = 24 * 3600
"""For what a job that was given up for good leaves behind."""

_FINISHED_S = 600

_SET_IF_PLANNED = """
-- KEYS: a film. ARGV: field, value, plan. What was planned otherwise since is not touched.
if redis.call('HGET', KEYS[1], 'plan') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

_TAKE = """
-- KEYS: a film. ARGV: field, new taker, taker that was seen, plan. Taken only from that one.
if redis.call('HGET', KEYS[1], 'plan') ~= ARGV[4] then return 0 end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class FilmState:
    """takers: job by part. done: parts that are. looks: frames looked at so far, by part."""

    takers: Mapping[int, str]
    done: frozenset[int]
    looks: Mapping[int, int]


class FilmBoard:
    """The parts of one video of one task. name: the task's cache key and the control."""

    def __init__(self, connection: redis.Redis, name: str) -> None:
        self._redis = connection
        self._key = keys.film(name)
        self._plan = b""

    def plan(self, parts: Sequence[Any]) -> list[Any]:
        """Tell the parts, as JSON values; returns those in force, told earlier maybe."""
        with self._redis.pipeline() as pipe:
            pipe.hsetnx(self._key, _PLAN, json.dumps(list(parts)))
            pipe.expire(self._key, _KEEP_S)
            pipe.execute()
        return self.planned() or list(parts)

    def planned(self) -> list[Any]:
        """The parts in force, none where nothing is to be done any more."""
        found: Any = self._redis.hget(self._key, _PLAN)
        self._plan = found or b""
        return list(json.loads(found)) if found else []

    def state(self) -> FilmState:
        """How far all is; two round trips, whatever was found."""
        names: Any = self._redis.hkeys(self._key)
        placed = [_place(name) for name in names]
        done = frozenset(part for kind, part in placed if kind == _DONE)
        asked = [one for one in placed if one[0] in (_TAKER, _LOOKS)]
        fields = [f"{kind}:{part}" for kind, part in asked]
        found: Any = self._redis.hmget(self._key, fields) if fields else []
        told = {one: value for one, value in zip(asked, found, strict=True) if value is not None}
        return FilmState(
            {part: value.decode() for (kind, part), value in told.items() if kind == _TAKER},
            done,
            {part: int(value) for (kind, part), value in told.items() if kind == _LOOKS},
        )

    def outcomes(self, count: int) -> list[Any]:
        """What came of so many parts, all of which are done."""
        found: Any = self._redis.hmget(self._key, [f"{_DONE}:{part}" for part in range(count)])
        return [json.loads(value) for value in found]

    def take(self, part: int, job_id: str, instead_of: str) -> bool:
        """Take a part, from a job that does it no longer or ("") from nobody."""
        return bool(
            self._redis.eval(
                _TAKE, 1, self._key, f"{_TAKER}:{part}", job_id, instead_of, self._plan
            )
        )

    def give_back(self, part: int, job_id: str) -> None:
        """Let others do a part that this job took."""
        self.take(part, "", job_id)

    def done(self, part: int, outcome: Any) -> None:
        """Leave what came of a part, as JSON."""
        self._set(f"{_DONE}:{part}", json.dumps(outcome))

    def looked(self, part: int, count: int) -> None:
        """Tell how many frames of a part have been looked at."""
        self._set(f"{_LOOKS}:{part}", str(count))

    def forget(self) -> None:
        """The video needs no more work."""
        self._redis.delete(self._key)

    def finished(self) -> None:
        """All is done; for a while it is kept for whoever has to store it once more."""
        self._redis.expire(self._key, _FINISHED_S)

    def _set(self, field: str, value: str) -> None:
        self._redis.eval(_SET_IF_PLANNED, 1, self._key, field, value, self._plan)


def _place(name: bytes) -> tuple[str, int]:
    kind, _, part = name.decode().partition(":")
    return kind, int(part) if part else -1

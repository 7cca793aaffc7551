"""Trained heads as bytes: immutable, numbered from 1 in each project, with one in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from backend.store import keys

# KEYS: pointer, metas, refs, last. ARGV[1]: key of a head without its number.
_HEAD = """
local pointer, metas, refs, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function in_use()
  return tonumber(string.match(redis.call('GET', pointer) or '0', '^%d+'))
end
"""

_ADD = """
-- ARGV: prefix, most kept, meta, digests, content, pictures, use (0, 1), number in use or ''.
-- Returns the number given, 0 where another head than expected is in use.
local current = in_use()
if ARGV[8] ~= '' and tonumber(ARGV[8]) ~= current then return 0 end
local number = redis.call('INCR', last)
redis.call('HSET', metas, number, ARGV[3])
redis.call('HSET', refs, number, number .. ' ' .. ARGV[4])
redis.call('HSET', ARGV[1] .. number, 'content', ARGV[5], 'pictures', ARGV[6])
if ARGV[7] == '1' then
  redis.call('SET', pointer, number .. ' ' .. ARGV[4])
  current = number
end
local numbers = {}
for _, field in ipairs(redis.call('HKEYS', metas)) do numbers[#numbers + 1] = tonumber(field) end
table.sort(numbers)
local surplus = #numbers - ARGV[2]
for _, old in ipairs(numbers) do
  if surplus > 0 and old ~= current and old ~= number then
    redis.call('HDEL', metas, old)
    redis.call('HDEL', refs, old)
    redis.call('UNLINK', ARGV[1] .. old)
    surplus = surplus - 1
  end
end
return number
"""

_USE = """
-- ARGV: prefix, number. Returns 1, or 0 where there is no such head.
if ARGV[2] == '0' then
  redis.call('DEL', pointer)
  return 1
end
local ref = redis.call('HGET', refs, ARGV[2])
if not ref then return 0 end
redis.call('SET', pointer, ref)
return 1
"""


@dataclass(frozen=True, slots=True)
class HeadRef:
    """Which head, made of what: digests of its own bytes and of the backbone's weights."""

    number: int
    digest: str = ""
    backbone_digest: str = ""


NO_HEAD = HeadRef(0)
"""Nothing was learned: the zero-shot way."""


def read_ref(value: Any) -> HeadRef:
    """The reference that a pointer holds; ``NO_HEAD`` for none."""
    if value is None:
        return NO_HEAD
    number, digest, backbone_digest = bytes(value).decode().split(" ")
    return HeadRef(int(number), digest, backbone_digest)


class HeadStore:
    """The heads of all projects; at most ``most`` of each, the one in use always among them."""

    def __init__(self, connection: redis.Redis, *, most: int) -> None:
        self._redis = connection
        self._most = most
        self._add = connection.register_script(_HEAD + _ADD)
        self._use = connection.register_script(_HEAD + _USE)

    def add(
        self,
        project_id: str,
        *,
        content: bytes,
        meta: bytes,
        pictures: bytes,
        digest: str,
        backbone_digest: str,
        use: bool,
        instead_of: int | None = None,
    ) -> int:
        """Keep a head under the next number, which is returned, and use it from now on if asked.

        instead_of: number that has to be in use; where another one is, nothing is kept and
        0 is returned.
        """
        expected = "" if instead_of is None else instead_of
        digests = f"{digest} {backbone_digest}"
        arguments = [self._most, meta, digests, content, pictures, int(use), expected]
        return int(self._run(self._add, project_id, arguments))

    def use(self, project_id: str, number: int) -> bool:
        """Use this head from now on, 0: none; False where there is no such head."""
        return bool(self._run(self._use, project_id, [number]))

    def current(self, project_id: str) -> HeadRef:
        """The head in use."""
        return read_ref(self._redis.get(keys.head_pointer(project_id)))

    def ref(self, project_id: str, number: int) -> HeadRef:
        """One head, ``NO_HEAD`` where it is not kept."""
        return read_ref(self._redis.hget(keys.heads(project_id, "refs"), str(number)))

    def refs(self, project_id: str) -> list[HeadRef]:
        """All heads kept, newest first."""
        found: Any = self._redis.hvals(keys.heads(project_id, "refs"))
        return sorted(map(read_ref, found), key=lambda ref: -ref.number)

    def metas(self, project_id: str) -> Mapping[int, bytes]:
        """What each kept head tells about itself, by number."""
        found: Any = self._redis.hgetall(keys.heads(project_id, "meta"))
        return {int(number): meta for number, meta in found.items()}

    def meta(self, project_id: str, number: int) -> bytes | None:
        """What a head tells about itself, None where there is no such head."""
        found: Any = self._redis.hget(keys.heads(project_id, "meta"), str(number))
        return found if found is None else bytes(found)

    def content(self, project_id: str, number: int) -> bytes | None:
        """A head's bytes, None where there is no such head."""
        found: Any = self._redis.hget(keys.head(project_id, number), "content")
        return found if found is None else bytes(found)

    def pictures(self, project_id: str, number: int) -> bytes | None:
        """What a head keeps of the pictures it learned from, None where there is no such head."""
        found: Any = self._redis.hget(keys.head(project_id, number), "pictures")
        return found if found is None else bytes(found)

    def _run(self, script: Any, project_id: str, arguments: list[Any]) -> Any:
        names = [
            keys.head_pointer(project_id),
            *(keys.heads(project_id, part) for part in ("meta", "refs", "last")),
        ]
        prefix = keys.head(project_id, 0).removesuffix("0")
        return script(keys=names, args=[prefix, *arguments])

"""What of a project outlives its Redis, read whole and put back whole.

Put back means: laid beside what is there under names that nobody reads, then given the
right names, of all projects, in one script. Killed before that script, nothing has changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from backend.store import keys
from backend.store.heads import HeadRef, read_ref

LEDGER_HASHES = ("records", "shown", "tasks", "state", "hashes")
_STAGED_S = 3600
_FIELDS_A_CALL = 1000

_PUBLISH = """
-- KEYS: projects, due, synced, then the parts of each project (pointer, refs and others),
-- then staged and final names in turn.
-- ARGV: replace (0, 1), number of projects, of parts; of each project id, prefix of its heads,
-- whether it was set up, whether it is due. Returns the ids that are in the way.
local replace, count, parts = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[3])
local first_staged = 4 + count * parts
for k = first_staged, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[k]) == 0 then
    return redis.error_reply('what was to be restored was kept waiting for too long')
  end
end
local taken = {}
for p = 0, count - 1 do
  for k = 4 + p * parts, 3 + (p + 1) * parts do
    if redis.call('EXISTS', KEYS[k]) == 1 then
      taken[#taken + 1] = ARGV[4 + p * 4]
      break
    end
  end
end
if #taken > 0 and not replace then return taken end
for p = 0, count - 1 do
  local id, prefix = ARGV[4 + p * 4], ARGV[5 + p * 4]
  for _, number in ipairs(redis.call('HKEYS', KEYS[5 + p * parts])) do
    redis.call('UNLINK', prefix .. number)
  end
  for k = 4 + p * parts, 3 + (p + 1) * parts do redis.call('UNLINK', KEYS[k]) end
  -- The next sync reads everything: what has happened since the backup is nowhere else.
  redis.call('HDEL', KEYS[3], id)
  redis.call(ARGV[6 + p * 4] == '1' and 'SADD' or 'SREM', KEYS[1], id)
  redis.call(ARGV[7 + p * 4] == '1' and 'SADD' or 'SREM', KEYS[2], id)
end
for k = first_staged, #KEYS, 2 do
  redis.call('RENAME', KEYS[k], KEYS[k + 1])
  redis.call('PERSIST', KEYS[k + 1])
end
return {}
"""


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A head with all that is kept of it. meta, pictures: JSON. content: safetensors."""

    ref: HeadRef
    meta: bytes
    content: bytes
    pictures: bytes


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """A ledger as Redis keeps it. hashes: its ``LEDGER_HASHES``. gone: tombstones with their
    time. changed: annotations to be learned anew. due: whether a training waits for them."""

    hashes: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    gone: Mapping[bytes, float] = field(default_factory=dict)
    changed: Sequence[bytes] = ()
    due: bool = False


@dataclass(frozen=True, slots=True)
class ProjectSnapshot:
    """A project at one moment.

    setup: what /setup told, empty where it never did. current: number of the head in use, 0
    for none. last: greatest number given so far.
    """

    project_id: str
    setup: Mapping[bytes, bytes] = field(default_factory=dict)
    current: int = 0
    last: int = 0
    heads: Sequence[KeptHead] = ()
    ledger: LedgerSnapshot = field(default_factory=LedgerSnapshot)


def known_projects(connection: redis.Redis) -> list[str]:
    """Ids of all projects that were set up, have heads or a ledger; numbers before names."""
    starts = (keys.project(""), keys.heads("", "refs"), keys.ledger("", "records"))
    found = {
        bytes(name).decode().removeprefix(start)
        for start in starts
        for name in connection.scan_iter(match=f"{start}*", count=1000)
    }
    return sorted(found, key=lambda item: (not item.isdecimal(), len(item), item))


def read_project(connection: redis.Redis, project_id: str) -> ProjectSnapshot:
    """The project as it is at one moment, also while others change it."""
    refs_key, pointer = keys.heads(project_id, "refs"), keys.head_pointer(project_id)
    with connection.pipeline() as pipe:
        while True:
            try:
                pipe.watch(refs_key, pointer)  # type: ignore[no-untyped-call, unused-ignore]
                found: Any = pipe.hkeys(refs_key)
                numbers = sorted(int(number) for number in found)
                pipe.multi()
                _ask(pipe, project_id, numbers)
                return _answered(project_id, numbers, pipe.execute())
            except redis.WatchError:
                continue  # a head was published or put in use meanwhile


def _ask(pipe: Any, project_id: str, numbers: Sequence[int]) -> None:
    pipe.hgetall(keys.project(project_id))
    pipe.get(keys.head_pointer(project_id))
    pipe.get(keys.heads(project_id, "last"))
    pipe.hgetall(keys.heads(project_id, "meta"))
    pipe.hgetall(keys.heads(project_id, "refs"))
    pipe.zrange(keys.ledger(project_id, "gone"), 0, -1, withscores=True)
    pipe.smembers(keys.ledger(project_id, "changed"))
    pipe.sismember(keys.ledger_due(), keys.project_id_of(project_id))
    for part in LEDGER_HASHES:
        pipe.hgetall(keys.ledger(project_id, part))
    for number in numbers:
        pipe.hmget(keys.head(project_id, number), "content", "pictures")


def _answered(project_id: str, numbers: Sequence[int], answers: Sequence[Any]) -> ProjectSnapshot:
    setup, pointer, last, metas, refs, gone, changed, due, *rest = answers
    heads = [
        KeptHead(read_ref(refs[str(n).encode()]), metas[str(n).encode()], content, pictures)
        for n, (content, pictures) in zip(numbers, rest[len(LEDGER_HASHES) :], strict=True)
    ]
    ledger = LedgerSnapshot(
        dict(zip(LEDGER_HASHES, rest, strict=False)), dict(gone), sorted(changed), bool(due)
    )
    current = read_ref(pointer).number
    return ProjectSnapshot(project_id, setup, current, int(last or 0), heads, ledger)


class Restoration:
    """Projects to be put back: ``stage`` each, then ``publish`` all at once."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._prefix = f"{keys.restoring()}{secrets.token_hex(8)}:"
        self._names: list[tuple[str, str]] = []
        self._projects: list[tuple[str, bool, bool]] = []

    def stage(self, project: ProjectSnapshot) -> None:
        """Lay a project down where nobody reads it; gone by itself after an hour."""
        one, ledger = project.project_id, project.ledger
        self._hash(keys.project(one), project.setup)
        for part in LEDGER_HASHES:
            self._hash(keys.ledger(one, part), ledger.hashes.get(part, {}))
        refs = {head.ref.number: _told(head.ref) for head in project.heads}
        metas = {str(head.ref.number).encode(): head.meta for head in project.heads}
        self._hash(keys.heads(one, "meta"), metas)
        self._hash(keys.heads(one, "refs"), {str(n).encode(): ref for n, ref in refs.items()})
        for head in project.heads:
            content = {b"content": head.content, b"pictures": head.pictures}
            self._hash(keys.head(one, head.ref.number), content)
        if project.last:
            self._redis.set(self._name(keys.heads(one, "last")), project.last, ex=_STAGED_S)
        if project.current:
            pointer = self._name(keys.head_pointer(one))
            self._redis.set(pointer, refs[project.current], ex=_STAGED_S)
        if ledger.gone:
            tombstones: dict[Any, Any] = dict(ledger.gone)
            staged = self._name(keys.ledger(one, "gone"))
            with self._redis.pipeline() as pipe:
                pipe.zadd(staged, tombstones)
                pipe.expire(staged, _STAGED_S)
                pipe.execute()
        if ledger.changed:
            staged = self._name(keys.ledger(one, "changed"))
            with self._redis.pipeline() as pipe:
                pipe.sadd(staged, *ledger.changed)
                pipe.expire(staged, _STAGED_S)
                pipe.execute()
        self._projects.append((one, bool(project.setup), ledger.due))

    def publish(self, *, replace: bool) -> list[str]:
        """Put all of them in their places, or none; ids of projects that are in the way.

        replace: take the places of those, whose heads and ledgers are then gone.
        """
        names: list[str] = [keys.projects(), keys.ledger_due(), keys.ledger_synced()]
        arguments: list[Any] = [int(replace), len(self._projects), 0]
        for one, known, due in self._projects:
            parts = _parts(one)
            names += parts
            arguments[2] = len(parts)
            arguments += [one, keys.head(one, 0).removesuffix("0"), int(known), int(due)]
        names += [name for pair in self._names for name in pair]
        found: Any = self._redis.eval(_PUBLISH, len(names), *names, *arguments)
        return [bytes(item).decode() for item in found]

    def clear(self) -> None:
        """Take away what was laid down and not put in its place."""
        for staged, _ in self._names:
            self._redis.unlink(staged)

    def _name(self, final: str) -> str:
        staged = f"{self._prefix}{len(self._names)}"
        self._names.append((staged, final))
        return staged

    def _hash(self, final: str, fields: Mapping[bytes, bytes]) -> None:
        if not fields:
            return
        staged = self._name(final)
        for mapping in _portions(fields):
            with self._redis.pipeline() as pipe:
                pipe.hset(staged, mapping=mapping)
                pipe.expire(staged, _STAGED_S)
                pipe.execute()


@contextmanager
def restoration(connection: redis.Redis) -> Iterator[Restoration]:
    """A restoration that leaves nothing lying about."""
    one = Restoration(connection)
    try:
        yield one
    finally:
        one.clear()


def _parts(project_id: str) -> list[str]:
    """All keys of a project but those of its heads; the pointer and refs come first."""
    return [
        keys.head_pointer(project_id),
        *(keys.heads(project_id, part) for part in ("refs", "meta", "last")),
        keys.project(project_id),
        *(keys.ledger(project_id, part) for part in (*LEDGER_HASHES, "gone", "changed")),
    ]


def _told(ref: HeadRef) -> bytes:
    return f"{ref.number} {ref.digest} {ref.backbone_digest}".encode()


def _portions(fields: Mapping[bytes, bytes]) -> Iterable[dict[Any, Any]]:
    items = list(fields.items())
    for at in range(0, len(items), _FIELDS_A_CALL):
        yield dict(items[at : at + _FIELDS_A_CALL])

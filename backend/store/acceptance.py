"""What people did with predictions, counted per project and version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import redis

from backend.store import keys

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of proposals that people have reviewed.

    version: "" for several together. pictures: reviewed; untouched: submitted without a
    single edit. Boxes: kept as they were, changed (place, size or label), rejected, and
    missed, which are those drawn beside the proposals.
    """

    version: str = ""
    pictures: int = 0
    untouched: int = 0
    kept: int = 0
    changed: int = 0
    rejected: int = 0
    missed: int = 0

    @property
    def proposed(self) -> int:
        """Boxes that were proposed."""
        return self.kept + self.changed + self.rejected


@dataclass(frozen=True, slots=True)
class ProjectAcceptance:
    """A project's, oldest version first. counted_at_s: since the epoch."""

    counted_at_s: float
    versions: tuple[Acceptance, ...]


class AcceptanceStore:
    """The counts of all projects; each takes the place of the one before."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def put(self, project_id: str, counted: ProjectAcceptance) -> None:
        """Keep what was counted; one round trip."""
        record = {"schema": _SCHEMA, **asdict(counted)}
        self._redis.hset(keys.acceptance(), keys.project_id_of(project_id), json.dumps(record))

    def read(self) -> dict[str, ProjectAcceptance]:
        """Of every project what was counted last; one round trip."""
        found: Mapping[bytes, bytes] = self._redis.hgetall(keys.acceptance())  # type: ignore[assignment, unused-ignore]
        records = {project.decode(): json.loads(text) for project, text in found.items()}
        return {
            project_id: _read(record)
            for project_id, record in records.items()
            if record.get("schema") == _SCHEMA  # the next training writes it anew
        }


def together(counted: Iterable[Acceptance]) -> Acceptance:
    """The sum."""
    every = list(counted)
    names = [one.name for one in fields(Acceptance) if one.name != "version"]
    return Acceptance(**{name: sum(getattr(one, name) for one in every) for name in names})


def _read(record: Mapping[str, Any]) -> ProjectAcceptance:
    rows: Sequence[Mapping[str, Any]] = record["versions"]
    return ProjectAcceptance(record["counted_at_s"], tuple(Acceptance(**row) for row in rows))

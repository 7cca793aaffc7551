"""What a carrier job is given: tasks, options, names; never pixels.

Server and worker may be of different releases for a while, so the record carries a schema
number, and a worker refuses one that it cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import JobError

SCHEMA = 2
_WITHOUT_HEAD = 1  # the schema before: made when nothing could be learned


@dataclass(frozen=True, slots=True)
class CarrierTask:
    """One task of a carrier.

    key: its place in the prediction cache. id: Label Studio's, where known. data: the
    task's ``data``, reduced to the keys that the labelling configuration uses.
    interaction: what an annotator points at, as JSON; None where the whole task is meant.
    """

    key: str
    id: int | None
    data: Mapping[str, Any]
    interaction: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as it is queued."""
        record: dict[str, Any] = {"key": self.key, "id": self.id, "data": dict(self.data)}
        # Only a job of its own reads it, so carriers stay what workers of older releases know.
        return record if self.interaction is None else record | {"interaction": self.interaction}


@dataclass(frozen=True, slots=True)
class Carrier:
    """Several tasks of one project under one version.

    backbone_digest: weights the version was named after; empty where no worker had told.
    config_fingerprint: under which the labelling configuration lies in the store.
    head_number: the project's head that predicts, 0 for the zero-shot way.
    """

    project_id: str
    version: str
    backbone_digest: str
    config_fingerprint: str
    tasks: tuple[CarrierTask, ...]
    head_number: int = 0

    def to_json(self) -> dict[str, Any]:
        """The record as it is queued."""
        return {
            "schema": SCHEMA,
            "project_id": self.project_id,
            "version": self.version,
            "backbone_digest": self.backbone_digest,
            "config_fingerprint": self.config_fingerprint,
            "head_number": self.head_number,
            "tasks": [task.to_json() for task in self.tasks],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Carrier:
        """The record read back. Raises: JobError where it is of another schema or incomplete."""
        if record.get("schema") not in (SCHEMA, _WITHOUT_HEAD):
            raise JobError(
                f"A carrier of schema {record.get('schema')!r} reached a worker for {SCHEMA}.",
                "Run server and workers of the same release.",
            )
        try:
            tasks = tuple(
                CarrierTask(t["key"], t["id"], t["data"], t.get("interaction"))
                for t in record["tasks"]
            )
            return cls(
                project_id=record["project_id"],
                version=record["version"],
                backbone_digest=record["backbone_digest"],
                config_fingerprint=record["config_fingerprint"],
                tasks=tasks,
                head_number=0 if record["schema"] == _WITHOUT_HEAD else record["head_number"],
            )
        except (KeyError, TypeError) as error:
            raise JobError(
                f"A carrier is incomplete: {error!r}.",
                "Run server and workers of the same release.",
            ) from error


def carrier_sizes(count: int, ready_workers: int, most: int, least: int = 8) -> list[int]:
    """How many tasks each carrier gets; the sizes differ by one at most.

    No carrier is larger than most. Where more workers are ready than that takes, there are
    more carriers, but a carrier keeps about least tasks: each costs some milliseconds of
    its own, and batches on the device want to be full.
    """
    if count == 0:
        return []
    needed = -(-count // most)
    carriers = max(needed, min(ready_workers, count // least), 1)
    small, larger = divmod(count, carriers)
    return [small + (index < larger) for index in range(carriers)]

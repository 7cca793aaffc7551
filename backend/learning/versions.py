"""Published heads of a project: immutable, numbered, with a pointer that moves both ways."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import RequestError, UnknownName
from backend.learning.promote import Counts
from backend.store.heads import HeadRef, HeadStore

_SCHEMA = 1
_DIGEST_CHARS = 12


@dataclass(frozen=True)
class VersionMeta:
    """What a version tells about itself.

    metrics: out of fold, by name. settings: those it was fitted with. task_ids: its
    training set in Label Studio. verdict: why it was published.
    """

    created_at_s: float
    backbone_name: str
    backbone_digest: str
    labels: tuple[str, ...]
    pictures: int
    task_ids: tuple[int, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""


@dataclass(frozen=True)
class Learned:
    """A trained head to be kept.

    content: the head as safetensors. pictures: of each picture it was trained on, by
    content hash, the digest of its labels and its out-of-fold counts.
    """

    content: bytes
    meta: VersionMeta
    pictures: Mapping[str, tuple[str, Counts]]


class HeadVersions:
    """The versions of all projects."""

    def __init__(self, store: HeadStore) -> None:
        self._store = store

    def current(self, project_id: str) -> HeadRef:
        """The version in use."""
        return self._store.current(project_id)

    def ref(self, project_id: str, number: int) -> HeadRef:
        """One version, ``NO_HEAD`` where it is not kept."""
        return self._store.ref(project_id, number)

    def refs(self, project_id: str) -> list[HeadRef]:
        """All versions kept, newest first."""
        return self._store.refs(project_id)

    def metas(self, project_id: str) -> dict[int, VersionMeta]:
        """What each version tells about itself, newest first."""
        found = self._store.metas(project_id)
        return {number: read_meta(found[number]) for number in sorted(found, reverse=True)}

    def content(self, project_id: str, number: int) -> bytes:
        """A head's safetensors. Raises: UnknownName."""
        content = self._store.content(project_id, number)
        if content is None:
            raise self._unknown(project_id, number)
        return content

    def pictures(self, project_id: str, number: int) -> dict[str, tuple[str, Counts]]:
        """What a version was trained on, as in ``Learned``; empty where there is no such one."""
        found = self._store.pictures(project_id, number)
        return {} if found is None else read_pictures(found)

    def publish(self, project_id: str, learned: Learned, *, instead_of: int) -> int:
        """Keep a head and use it from now on; its number, 0 where the pointer moved meanwhile."""
        return self._add(project_id, learned, use=True, instead_of=instead_of)

    def use(self, project_id: str, number: int) -> None:
        """Use another version from now on, 0: none at all. Raises: UnknownName."""
        if not self._store.use(project_id, number):
            raise self._unknown(project_id, number)

    def export(self, project_id: str, number: int, folder: Path) -> tuple[Path, Path]:
        """Write a version as ``head-<number>.safetensors`` and ``.json``.

        Raises: UnknownName; RequestError where the folder cannot be written.
        """
        content = self.content(project_id, number)
        meta = self._store.meta(project_id, number) or b"{}"
        pictures = self._store.pictures(project_id, number) or b"{}"
        tensors = folder / f"head-{number}.safetensors"
        told = {"digest": digest_of(content), "meta": json.loads(meta)}
        told["pictures"] = json.loads(pictures)
        described = tensors.with_suffix(".json")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(tensors, content)
            _write(described, (json.dumps(told, indent=2) + "\n").encode())
        except OSError as error:
            raise RequestError(
                f"{folder} cannot be exported to: {error}.", "Name a folder that can be written."
            ) from error
        return tensors, described

    def import_(self, project_id: str, tensors: Path) -> int:
        """Take in a version that was exported, under a new number, without using it.

        Raises: RequestError where the two files are missing or do not belong together.
        """
        try:
            content = tensors.read_bytes()
            told = json.loads(tensors.with_suffix(".json").read_text("utf-8"))
            fits = told["digest"] == digest_of(content)
            meta = read_meta(json.dumps(told["meta"]).encode())
            pictures = read_pictures(json.dumps(told["pictures"]).encode())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"its .json has no {error}" if isinstance(error, KeyError) else error
            raise RequestError(
                f"{tensors} cannot be taken in: {why}.",
                "Give the .safetensors file of an export, with its .json beside it.",
            ) from error
        if not fits:
            raise RequestError(
                f"{tensors} is not the file its .json describes.", "Export it again."
            )
        return self._add(project_id, Learned(content, meta, pictures), use=False)

    def _add(
        self, project_id: str, learned: Learned, *, use: bool, instead_of: int | None = None
    ) -> int:
        meta = {"schema": _SCHEMA, **dataclasses.asdict(learned.meta)}
        pictures = {
            picture: [digest, *counts.to_row()]
            for picture, (digest, counts) in learned.pictures.items()
        }
        return self._store.add(
            project_id,
            content=learned.content,
            meta=json.dumps(meta).encode(),
            pictures=json.dumps(pictures, separators=(",", ":")).encode(),
            digest=digest_of(learned.content),
            backbone_digest=learned.meta.backbone_digest,
            use=use,
            instead_of=instead_of,
        )

    def _unknown(self, project_id: str, number: int) -> UnknownName:
        known = [str(ref.number) for ref in self.refs(project_id)]
        return UnknownName(f"head of project {project_id}", str(number), [*known, "0"])


def _write(path: Path, content: bytes) -> None:
    """The whole file or, after an error, none. Raises: OSError."""
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def digest_of(content: bytes) -> str:
    """By which a head is known: a short hash of its bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()[:_DIGEST_CHARS]


def read_meta(text: bytes) -> VersionMeta:
    """The record of a version. Raises: ValueError, KeyError, TypeError, AttributeError."""
    record = json.loads(text)
    if record.pop("schema", None) != _SCHEMA:
        raise ValueError(f"its record is not of schema {_SCHEMA}")
    record |= {name: tuple(record[name]) for name in ("labels", "task_ids")}
    return VersionMeta(**record)


def read_pictures(text: bytes) -> dict[str, tuple[str, Counts]]:
    """As in ``Learned``. Raises: as ``read_meta``."""
    return {
        picture: (row[0], Counts.from_row(row[1:])) for picture, row in json.loads(text).items()
    }

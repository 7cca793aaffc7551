"""A file that holds projects: their settings, heads and ledgers; JSON and safetensors in a zip.

``manifest.json`` names every other entry with its size and SHA-256, so that a file that was
cut, changed or mixed is recognised before anything of it is used. Nothing in it is code,
nothing is unpacked onto a disk, and what is read is bounded by what the manifest tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from backend import __version__
from backend.errors import BackendError, RequestError
from backend.learning.ledger import entries_of
from backend.learning.versions import digest_of, read_meta, read_pictures
from backend.store import keys
from backend.store.heads import HeadRef
from backend.store.ledgers import rows_of
from backend.store.snapshots import LEDGER_HASHES, KeptHead, LedgerSnapshot, ProjectSnapshot

FORMAT = 1
"""Layout of the file, counted apart from the store's schema: a release reads older ones too."""

_MANIFEST = "manifest.json"
_MOST_BYTES = 2**30
_MOST_MANIFEST_BYTES = 64 * 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Content:
    """How much of everything."""

    projects: int = 0
    heads: int = 0
    annotations: int = 0

    def plus(self, project: ProjectSnapshot) -> Content:
        """With one more project."""
        return Content(
            self.projects + 1,
            self.heads + len(project.heads),
            self.annotations + len(project.ledger.hashes.get("records", {})),
        )


class BackupWriter:
    """Writes a file as a context manager: it has its name only when the block went well.

    Raises: RequestError where the file is there already or cannot be written.
    """

    def __init__(self, path: Path, *, created_at_s: float) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._manifest: dict[str, Any] = {
            "format": FORMAT,
            "store_schema": keys.SCHEMA,
            "release": __version__,
            "created_at_s": created_at_s,
            "projects": [],
            "entries": {},
        }

    def __enter__(self) -> BackupWriter:
        self._require_free()
        try:
            # Task data may hold addresses with a signature: for the owner's eyes.
            handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = os.fdopen(handle, "wb")
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def add(self, project: ProjectSnapshot) -> None:
        """Write a project."""
        folder = f"projects/{quote(project.project_id, safe='')}"
        self._manifest["projects"].append(project.project_id)
        record = {
            "setup": _text_of(project.setup),
            "current": project.current,
            "last": project.last,
            "heads": [asdict(head.ref) for head in project.heads],
        }
        self._write(f"{folder}/project.json", _json(record))
        self._write(f"{folder}/ledger.json", _json(_ledger_record(project.ledger)))
        for head in project.heads:
            # The two files that `heads import` takes.
            name = f"{folder}/head-{head.ref.number}"
            told = {
                "digest": head.ref.digest,
                "meta": json.loads(head.meta),
                "pictures": json.loads(head.pictures),
            }
            self._write(f"{name}.safetensors", head.content)
            self._write(f"{name}.json", _json(told))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._zip.writestr(_MANIFEST, _json(self._manifest))
                self._zip.close()
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None:
                self._require_free()
                self._part.replace(self._path)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _require_free(self) -> None:
        if self._path.exists():
            raise RequestError(f"{self._path} is there already.", "Name a file that is not.")

    def _write(self, name: str, content: bytes) -> None:
        entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self._manifest["entries"][name] = entry
        try:
            self._zip.writestr(name, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RequestError:
        return RequestError(
            f"{self._path} cannot be written: {error}.", "Name a file in a folder with room."
        )


class BackupReader:
    """Reads such a file, as a context manager. read_head: raises ConfigError for what is no head.

    Raises: RequestError where the file is broken, of a later format or no backup.
    """

    def __init__(self, path: Path, read_head: Callable[[bytes], object]) -> None:
        self._path = path
        self._read_head = read_head

    def __enter__(self) -> BackupReader:
        try:
            self._zip = zipfile.ZipFile(self._path)
            self._manifest = self._read_manifest()
        except _UNREADABLE as error:
            raise self._broken(error) from error
        if self._manifest["format"] > FORMAT:
            raise RequestError(
                f"{self._path} is of format {self._manifest['format']}, this version reads up to "
                f"{FORMAT}.",
                f"Restore it with the release that wrote it: {self._manifest.get('release')}.",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def project_ids(self) -> list[str]:
        """Those in the file."""
        return list(self._manifest["projects"])

    def project(self, project_id: str) -> ProjectSnapshot:
        """A project, with every byte of it checked and every head and annotation read once."""
        folder = f"projects/{quote(project_id, safe='')}"
        try:
            record = json.loads(self._entry(f"{folder}/project.json"))
            refs = [HeadRef(**ref) for ref in record["heads"]]
            heads = [self._head(f"{folder}/head-{ref.number}", ref) for ref in refs]
            current = int(record["current"])
            if current and current not in {ref.number for ref in refs}:
                raise ValueError(f"project {project_id} uses head {current}, which is missing")
            return ProjectSnapshot(
                project_id,
                _bytes_of(record["setup"]),
                current,
                max(int(record["last"]), *(ref.number for ref in refs), 0),
                heads,
                _ledger(json.loads(self._entry(f"{folder}/ledger.json"))),
            )
        except (*_UNREADABLE, BackendError) as error:
            raise self._broken(error) from error

    def _head(self, name: str, ref: HeadRef) -> KeptHead:
        content = self._entry(f"{name}.safetensors")
        told = json.loads(self._entry(f"{name}.json"))
        if digest_of(content) != ref.digest or ref.number < 1:
            raise ValueError(f"{name}.safetensors is not the head that {name}.json describes")
        self._read_head(content)
        meta, pictures = json.dumps(told["meta"]).encode(), _json(told["pictures"])
        read_pictures(pictures)
        if read_meta(meta).backbone_digest != ref.backbone_digest:
            raise ValueError(f"{name}.json tells of another backbone")
        return KeptHead(ref, meta, content, pictures)

    def _read_manifest(self) -> dict[str, Any]:
        if self._zip.getinfo(_MANIFEST).file_size > _MOST_MANIFEST_BYTES:
            raise ValueError("its manifest is too large")
        manifest = dict(json.loads(self._zip.read(_MANIFEST)))
        names = [one.filename for one in self._zip.infolist()]
        if sorted(names) != sorted([_MANIFEST, *manifest["entries"]]):
            raise ValueError("it holds other entries than its manifest tells")
        if not isinstance(manifest["format"], int):
            raise ValueError("it tells no format")
        if manifest["projects"] != [keys.project_id_of(one) for one in manifest["projects"]]:
            raise ValueError("it names projects in a way of its own")
        return manifest

    def _entry(self, name: str) -> bytes:
        told = self._manifest["entries"][name]
        size = self._zip.getinfo(name).file_size
        if size != told["bytes"] or size > _MOST_BYTES:
            raise ValueError(f"{name} has {size} bytes instead of {told['bytes']}")
        content = self._zip.read(name)
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise ValueError(f"{name} is not what was written")
        return content

    def _broken(self, error: Exception) -> RequestError:
        why = f"{error} is missing" if type(error) is KeyError else str(error)
        why = error.what if isinstance(error, BackendError) else why or type(error).__name__
        return RequestError(
            f"{self._path} cannot be restored: {why.removesuffix('.')}.",
            "Nothing was changed. Give a file that `python -m backend backup` wrote.",
        )


def _ledger_record(ledger: LedgerSnapshot) -> dict[str, Any]:
    return {
        "hashes": {part: _text_of(fields) for part, fields in ledger.hashes.items()},
        "gone": {name.decode(): at_s for name, at_s in ledger.gone.items()},
        "changed": [name.decode() for name in ledger.changed],
        "due": ledger.due,
    }


def _ledger(record: Mapping[str, Any]) -> LedgerSnapshot:
    hashes = {part: _bytes_of(record["hashes"].get(part, {})) for part in LEDGER_HASHES}
    # Read the way a training does: what it could not read must not get into the store.
    entries_of(rows_of(hashes["records"], hashes["shown"], hashes["tasks"]))
    gone = {name.encode(): float(at_s) for name, at_s in record["gone"].items()}
    changed = [str(int(name)).encode() for name in record["changed"]]
    return LedgerSnapshot(hashes, gone, changed, bool(record["due"]))


def _text_of(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _bytes_of(fields: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

"""Videos on this machine's disk: fetched once, bounded, least recently used first out.

Several processes work on one video at a time: one of them fetches it, the others wait for it,
and none is taken away while somebody reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Protocol

from backend.errors import MediaTooLarge, MediaUnreadable

LEFT_FREE_BYTES = 256 << 20
"""Room that fetched videos leave on their disk, for those who need it more."""

_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB
_PARTIAL = ".part"
_STALE_S = 24 * 3600
_HASHES_KEPT = 256
_CHUNK_BYTES = 1 << 20


class Sink(Protocol):
    """Where a video is written."""

    def write(self, content: bytes, /) -> int:
        """Append."""

    def restart(self) -> None:
        """Forget what was written."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """content_hash: 32 hex digits, names the video in every cache."""

    path: Path
    content_hash: str


def video_in(path: Path) -> VideoFile:
    """A file that lies where it lies. Cost: it is read once, as long as it does not change."""
    state = path.stat()
    return VideoFile(path, _hash_of(path, state.st_size, state.st_mtime_ns))


class FetchedVideos:
    """A folder of videos by where they came from. max_bytes: of all together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def lent(self, source: str, fetch: Callable[[Sink], None]) -> Iterator[VideoFile]:
        """The video of a source, kept on disk while the context lasts.

        fetch: writes it into a file, where it is not there yet. One that turns out to be
        unreadable is not kept: it may be mended where it came from. Raises: MediaTooLarge where
        the disk has no room, and what fetch raises.
        """
        key = blake2b(source.encode(), digest_size=16).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with self._alone_with(key):
                path = self._found(key) or self._fetched(key, fetch)
                os.utime(path)
                stack.enter_context(_locked(path, fcntl.LOCK_SH))
            self._trim()
            try:
                yield VideoFile(path, path.name.partition("-")[2])
            except MediaUnreadable:
                path.unlink(missing_ok=True)
                raise

    def _alone_with(self, key: str, how: int = fcntl.LOCK_EX) -> AbstractContextManager[None]:
        """Nobody else fetches the video of this key, or takes it away."""
        return _locked(self._folder / f"{key}.lock", how, os.O_CREAT)

    def _found(self, key: str) -> Path | None:
        return next(iter(self._folder.glob(f"{key}-*")), None)

    def _fetched(self, key: str, fetch: Callable[[Sink], None]) -> Path:
        partial = self._folder / f"{key}{_PARTIAL}"  # alone: the key is locked
        try:
            with partial.open("w+b") as file:
                fetch(_Bounded(file, self._folder))
            path = self._folder / f"{key}-{_read_hash(partial)}"
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return path

    def _trim(self) -> None:
        entries: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):  # another process may have removed it
                state = path.stat()
                if path.suffix == _PARTIAL and state.st_mtime < time.time() - _STALE_S:
                    path.unlink()  # of a process that died
                elif "-" in path.name:
                    entries.append((state.st_mtime, state.st_size, path))
        excess = sum(size for _, size, _ in entries) - self._max_bytes
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            with (
                contextlib.suppress(OSError),  # somebody reads it, or is about to
                self._alone_with(path.name.partition("-")[0], _AT_ONCE),
                _locked(path, _AT_ONCE),
            ):
                path.unlink()
                excess -= size


class _Bounded:
    """A file that leaves room on its disk."""

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file = file
        self._folder = folder

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def write(self, content: bytes, /) -> int:
        if shutil.disk_usage(self._folder).free - len(content) < LEFT_FREE_BYTES:
            raise MediaTooLarge(
                f"There is no room for the video under {self._folder}.",
                "Free some, lower VIDEO_CACHE_BYTES, or move DATA_DIR to a larger disk.",
            )
        return self._file.write(content)


@contextmanager
def _locked(path: Path, how: int, more_flags: int = 0) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | more_flags, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@lru_cache(_HASHES_KEPT)
def _hash_of(path: Path, size_bytes: int, changed_ns: int) -> str:
    """size_bytes, changed_ns: so that another content is read anew."""
    return _read_hash(path)


def _read_hash(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

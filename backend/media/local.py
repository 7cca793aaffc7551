"""Reading a file of Label Studio's local storage straight from disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from backend.errors import MediaForbidden, MediaTooLarge


def read_local(root: Path, relative: str, max_bytes: int) -> bytes | None:
    """Bytes of the file at relative below root.

    None where root or the file does not exist on this machine: Label Studio is asked then.
    Raises: MediaForbidden where the path leaves root, also through a symbolic link, or names
        no regular file; MediaTooLarge.
    """
    found = _opened(root, relative)
    if found is None:
        return None
    descriptor, _ = found
    with os.fdopen(descriptor, "rb") as file:
        # The file may grow while it is read: the limit holds for what was read.
        small = os.fstat(descriptor).st_size <= max_bytes
        content = file.read(max_bytes + 1) if small else None
    if content is None or len(content) > max_bytes:
        raise _too_large(relative, max_bytes, "MAX_MEDIA_BYTES")
    return content


def local_file(root: Path, relative: str, max_bytes: int) -> Path | None:
    """Where the file at relative below root lies, checked as ``read_local`` does."""
    found = _opened(root, relative)
    if found is None:
        return None
    descriptor, real = found
    size_bytes = os.fstat(descriptor).st_size
    os.close(descriptor)
    if size_bytes > max_bytes:
        raise _too_large(relative, max_bytes, "MAX_VIDEO_BYTES")
    return real


def _opened(root: Path, relative: str) -> tuple[int, Path] | None:
    """Descriptor and true path of a regular file below root."""
    path = PurePosixPath(relative)
    if "\x00" in relative or path.is_absolute() or ".." in path.parts:
        raise _forbidden(relative, "is not a path inside the local-files folder")
    try:
        real_root = root.resolve(strict=True)
        real = real_root.joinpath(path).resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError):  # a loop of links, a name too long
        raise _forbidden(relative, "cannot be followed") from None
    if not real.is_relative_to(real_root):
        raise _forbidden(relative, "leads out of the local-files folder through a link")
    try:
        # A FIFO would hold the reader until somebody writes; a link put there since
        # resolve() is refused.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _forbidden(relative, f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _forbidden(relative, "is not a regular file")
    return descriptor, real


def _too_large(relative: str, max_bytes: int, setting: str) -> MediaTooLarge:
    return MediaTooLarge(
        f"The local file {relative!r} has more than {max_bytes} bytes.",
        f"Make the file smaller, or raise {setting}.",
    )


def _forbidden(relative: str, why: str) -> MediaForbidden:
    return MediaForbidden(
        f"The local file {relative[:160]!r} {why}.",
        "Files are read from LOCAL_FILES_ROOT and its folders alone.",
    )

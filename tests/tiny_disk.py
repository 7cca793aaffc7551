"""A disk of a few megabytes that tests fill for real."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tiny_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """A file system of its own at folder, as long as the block lasts.

    The test is skipped where nothing may be mounted.
    """
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("There is no mount command.")
    options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("This user may not mount a file system.")
    try:
        yield folder
    finally:
        # Lazily: what still has a file open there keeps it until it ends.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """A file that takes all the room but so many bytes."""
    ballast = folder / "ballast"
    room = shutil.disk_usage(folder).free - leave_bytes
    with ballast.open("wb", buffering=0) as out:
        while room > 0:
            room -= out.write(bytes(min(room, 1 << 20)))
    return ballast

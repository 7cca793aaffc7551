"""Memory and time of other processes, as Linux tells them."""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import ConfigError

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Places in what stands behind a process's name in its ``stat``."""


def resident_bytes(pid: int) -> int:
    """Memory of a process that lies in RAM. Raises: ConfigError where there is no /proc."""
    text = _read(_PROC / str(pid) / "statm")
    return int(text.split()[1]) * os.sysconf("SC_PAGESIZE")


def family_cpu_s(pid: int) -> float:
    """CPU seconds of a process and its living children. Raises: ConfigError as above."""
    ticks = 0
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                fields = _read(folder / "stat").rpartition(")")[2].split()
            except ConfigError:
                continue  # it ended meanwhile
            if folder.name == str(pid) or fields[_PARENT] == str(pid):
                ticks += int(fields[_USER]) + int(fields[_SYSTEM])
    return ticks / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> dict[int, list[str]]:
    """Command lines of a process's living children by their ids."""
    found: dict[int, list[str]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                if _read(folder / "stat").rpartition(")")[2].split()[_PARENT] == str(pid):
                    arguments = _read(folder / "cmdline").split("\0")
                    found[int(folder.name)] = [one for one in arguments if one]
            except ConfigError:
                continue  # it ended meanwhile
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}.", "Measure on Linux, while the process runs."
        ) from None

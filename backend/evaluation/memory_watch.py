"""Memory of a family of processes while some of them are killed and started again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.errors import ConfigError
from backend.evaluation.beside import Beside
from backend.evaluation.linux_processes import children_of, resident_bytes

_SAMPLE_S = 1.0
_SETTLED = 0.25
"""Part of its life after which a process has loaded what it needs."""

Samples = Sequence[tuple[float, int]]


@dataclass
class Life:
    """A process. role: what it does. taken: seconds of the run and bytes."""

    role: str
    taken: list[tuple[float, int]] = field(default_factory=list)


def growth_percent(taken: Samples) -> float | None:
    """Of the last tenth's median over the median of the tenth after it had settled.

    None where there are fewer than 20 samples.
    """
    after = [size for _, size in taken[int(len(taken) * _SETTLED) :]]
    if len(taken) < 20:
        return None
    part = max(1, len(after) // 10)
    first, last = float(np.median(after[:part])), float(np.median(after[-part:]))
    return (last / first - 1) * 100


def worst_growth(lives: Sequence[Life], least_s: float) -> Mapping[str, float]:
    """Growth in percent by role, the worst of those that lived for at least so long."""
    worst: dict[str, float] = {}
    for life in lives:
        grown = growth_percent(life.taken)
        if grown is not None and life.taken[-1][0] - life.taken[0][0] >= least_s:
            worst[life.role] = max(grown, worst.get(life.role, grown))
    return worst


class MemoryWatch(Beside):
    """Looks about once a second, from entry to exit. root_pid: whose children it looks at."""

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid
        self._lives: dict[int, Life] = {}
        self._begun_s = time.monotonic()
        super().__init__()

    @property
    def lives(self) -> list[Life]:
        """All processes seen so far."""
        return list(self._lives.values())

    def _run(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            known = {self._root_pid: ["supervisor"], **children_of(self._root_pid)}
            at_s = time.monotonic() - self._begun_s
            for pid, arguments in known.items():
                try:
                    size = resident_bytes(pid)
                except ConfigError:
                    continue  # it ended meanwhile
                life = self._lives.setdefault(pid, Life(role_of(arguments)))
                life.taken.append((at_s, size))


def role_of(arguments: Sequence[str]) -> str:
    """What a process of the backend does, by its command line."""
    if "worker-slot" in arguments:
        return "trainer" if "train" in arguments else "worker"
    if "serve" in arguments:
        return "server"
    if any("redis-server" in one for one in arguments[:1]):
        return "redis"
    return arguments[0] if arguments else "unknown"

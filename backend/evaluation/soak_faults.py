"""Which faults a soak run meets when, and how they are brought about."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backend.evaluation.beside import Beside
from backend.evaluation.linux_processes import children_of
from backend.evaluation.memory_watch import role_of
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.worked_project import WorkedProject

KINDS = (
    "worker_killed",
    "server_killed",
    "redis_stopped",
    "label_studio_down",
    "answer_lost",
    "pictures_slow",
    "pictures_failing",
    "trainer_killed",
)
_EARLY_ONLY = ("server_killed", "trainer_killed")
"""Until this part of a run, so that their memory can be watched for the rest of it."""
_EARLY = 0.4
_LONGEST_S = {"redis_stopped": 10.0}
_LONGEST_USUAL_S = 15.0
_SPACING_S = (3.5, 40.0)
_QUIET_PART = 0.08

_BACK_UP_S = 15.0
"""After a server or a Redis is back, calls may fail for so long before it counts as an error."""

_START_S = 60.0

_VICTIM = {
    "worker_killed": "worker",
    "trainer_killed": "trainer",
    "server_killed": "server",
    "redis_stopped": "redis",
}
"""Role of the process that a kind of fault hits."""

SERVER_AWAY = ("server_killed", "redis_stopped")


@dataclass(frozen=True, slots=True)
class Planned:
    """at_s: after the beginning. length_s: how long it lasts, 0 for what is over at once."""

    at_s: float
    kind: str
    length_s: float


@dataclass
class Happened:
    """began_s, ended_s: by time.monotonic; ended_s is infinite while it lasts."""

    kind: str
    began_s: float
    ended_s: float = float("inf")


@dataclass
class Faults:
    """What has happened so far. missed: kinds whose victim was not there at the moment."""

    happened: list[Happened] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How often each kind happened."""
        counted = Counter(one.kind for one in self.happened)
        return {kind: counted[kind] for kind in KINDS}

    def met(self, began_s: float, ended_s: float, kinds: Sequence[str] = KINDS) -> bool:
        """Whether a call of that time met one of these, or the time of getting up after it."""
        return any(
            one.kind in kinds and began_s <= one.ended_s + _BACK_UP_S and ended_s >= one.began_s
            for one in self.happened
        )


def plan_faults(seed: int, duration_s: float) -> list[Planned]:
    """Every kind in turn, in an order drawn for each round; none in the first or last moments."""
    draw = random.Random(seed)
    begin_s, end_s = duration_s * _QUIET_PART, duration_s * (1 - _QUIET_PART)
    spacing_s = min(_SPACING_S[1], max(_SPACING_S[0], (end_s - begin_s) / (len(KINDS) + 1)))
    planned: list[Planned] = []
    at_s = begin_s
    while at_s < end_s:
        late = at_s + spacing_s * len(KINDS) > duration_s * _EARLY and bool(planned)
        kinds = [kind for kind in KINDS if not (late and kind in _EARLY_ONLY)]
        draw.shuffle(kinds)
        # The first round begins with what may only happen early.
        kinds.sort(key=lambda kind: kind not in _EARLY_ONLY)
        for kind in kinds:
            if at_s >= end_s:
                break
            longest_s = min(_LONGEST_S.get(kind, _LONGEST_USUAL_S), spacing_s / 2)
            lasts = kind in ("redis_stopped", "label_studio_down", "pictures_slow")
            lasts = lasts or kind == "pictures_failing"
            length_s = draw.uniform(longest_s / 2, longest_s) if lasts else 0.0
            planned.append(Planned(at_s, kind, length_s))
            at_s += spacing_s * draw.uniform(0.8, 1.2)
    return planned


class Injector(Beside):
    """Brings planned faults about, one after the other, in a thread of its own.

    root_pid: of `up`, whose children are killed. Leaves everything running at its exit.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        root_pid: int,
        project: WorkedProject,
        pictures: PictureServer,
        server_answers: Callable[[], bool],
    ) -> None:
        self.faults = Faults()
        self._planned = planned
        self._root_pid = root_pid
        self._project, self._pictures = project, pictures
        self._server_answers = server_answers
        super().__init__()

    def _run(self) -> None:
        begun_s = time.monotonic()
        for one in self._planned:
            if self._over.wait(max(0.0, begun_s + one.at_s - time.monotonic())):
                return
            pid = self._victim(one.kind)
            if pid is None and one.kind in _VICTIM:
                self.faults.missed.append(one.kind)  # it is being started again
                continue
            happened = Happened(one.kind, time.monotonic())
            self.faults.happened.append(happened)
            self._bring_about(one, pid or 0)
            happened.ended_s = time.monotonic()

    def _bring_about(self, fault: Planned, pid: int) -> None:
        match fault.kind:
            case "worker_killed" | "trainer_killed":
                _signal(pid, signal.SIGKILL)
            case "server_killed":
                _signal(pid, signal.SIGKILL)
                until_s = time.monotonic() + _START_S
                while not self._server_answers() and time.monotonic() < until_s:
                    self._over.wait(0.2)
            case "redis_stopped":
                _signal(pid, signal.SIGSTOP)
                try:
                    self._over.wait(fault.length_s)
                finally:
                    _signal(pid, signal.SIGCONT)
            case "label_studio_down":
                self._project.go_down()
                try:
                    self._over.wait(fault.length_s)
                finally:
                    self._project.come_up()
            case "answer_lost":
                self._project.forgetful += 1
            case "pictures_slow" | "pictures_failing":
                self._pictures.trouble = "slow" if fault.kind == "pictures_slow" else "500"
                try:
                    self._over.wait(fault.length_s)
                finally:
                    self._pictures.trouble = ""

    def _victim(self, kind: str) -> int | None:
        """The process to be hit; of the workers always the one of slot 0."""
        for pid, arguments in children_of(self._root_pid).items():
            if role_of(arguments) == _VICTIM.get(kind):
                name = arguments[arguments.index("--name") + 1] if "--name" in arguments else ""
                if kind != "worker_killed" or name.split("-")[-2] == "0":
                    return pid
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

"""Keeps one worker alive per slot; what a dead one was doing is done by another.

It holds no model and no lock. One thread looks around every 50 ms: at its children through
the kernel, at Redis for jobs that hang and for workers of other machines that fell silent.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from backend.jobs.kept import KeptChild
from backend.jobs.patience import LIMIT
from backend.jobs.push_requests import requeue_due_pushes
from backend.jobs.recovery import misplaced_jobs, put_back_misplaced, requeue_of_dead
from backend.jobs.riders import put_back_stranded
from backend.jobs.silence import Silence
from backend.jobs.slots import Slot, slot_environment
from backend.jobs.sync_requests import request_syncs
from backend.jobs.training import request_due_trainings
from backend.jobs.worker import EXIT_CANNOT_WARM
from backend.settings import Settings
from backend.store.clock import SharedClock
from backend.store.fleet import Fleet, WorkerInfo

log = structlog.get_logger(__name__)

TICK_S = 0.05
_LOOK_AROUND_S = 2.0
_BLIND_S = 3 * _LOOK_AROUND_S  # without a look for so long, something was missed
_SECOND_LOOK_S = 0.5  # a job in a worker's hands for a moment is not lost
HANG_GRACE_S = 15.0
STOP_GRACE_S = 20.0

Command = Callable[[Slot, str], Sequence[str]]
"""Command line of the worker of a slot with a name."""


def worker_command(slot: Slot, name: str) -> list[str]:
    """Command line of a worker process."""
    place = ["--device", slot.device, "--name", name, "--kind", slot.kind]
    return [sys.executable, "-m", "backend", "worker-slot", *place]


@dataclass(frozen=True)
class _Ended:
    """Why a worker was killed. again: whether its job is tried again."""

    why: str
    again: bool


@dataclass
class _Place:
    """A slot with the worker in it.

    failed: what its last worker said when it could not start. ended: why we killed the worker.
    run: the job it is at, with what tells one run of it from another; run_since_s: when we
    first saw that (monotonic).
    """

    slot: Slot
    child: KeptChild
    worker: str = ""
    failed: WorkerInfo | None = None
    ended: _Ended | None = None
    run: tuple[bytes, bytes] | None = None
    run_since_s: float = 0.0


@dataclass(frozen=True)
class _Death:
    worker: str
    why: str
    again: bool


class Supervisor:
    """Starts, watches and ends the workers of this machine; use it from the main thread.

    environment: of the children, beside what their slot needs.
    hang_grace_s: how long after its timeout a job's worker is killed.
    stop_grace_s: how long workers may finish their jobs when we stop.
    """

    def __init__(
        self,
        settings: Settings,
        connection: redis.Redis,
        slots: Sequence[Slot],
        environment: Mapping[str, str],
        *,
        command: Command = worker_command,
        hang_grace_s: float = HANG_GRACE_S,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._settings = settings
        self._redis = connection
        self._fleet = Fleet(connection)
        self._command = command
        self._hang_grace_s = hang_grace_s
        self._stop_grace_s = stop_grace_s
        self._places = [self._place(slot, environment) for slot in slots]
        self._deaths: list[_Death] = []
        self._suspects: dict[str, str] = {}
        self._second_look_s: float | None = None
        self._look_around_s = 0.0
        self._looked_s = time.monotonic()
        self._silence = Silence(most_step_s=_LOOK_AROUND_S)
        self._clock = SharedClock(connection)

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [place.child.pid for place in self._places if place.child.pid is not None]

    def start(self) -> None:
        """Start all workers, look for jobs that were lost before, have ledgers repaired."""
        for place in self._places:
            place.child.start()
        self._suspect()
        request_syncs(self._redis, self._settings, self._clock())
        self._looked_s = time.monotonic()

    def tick(self) -> None:
        """Do what is due; call it every ``TICK_S``."""
        for place in self._places:
            before = place.worker
            status = place.child.poll()
            if status is not None:
                self._died(place, before, status)
        try:
            self._recover()
            now_s = time.monotonic()
            if self._second_look_s is not None and now_s >= self._second_look_s:
                self._second_look_s = None
                put_back_misplaced(self._redis, self._suspects)
            if now_s >= self._look_around_s:
                self._look_around_s = now_s + _LOOK_AROUND_S
                self._look_around()
        except redis.RedisError as error:
            # Workers wait for Redis by themselves; what is to be done stays on our lists.
            log.warning("supervisor_without_redis", reason=str(error))
            self._look_around_s = time.monotonic() + _LOOK_AROUND_S

    def run(self, stopped: Callable[[], bool]) -> None:
        """Start, work until stopped() is true, stop."""
        try:
            self.start()
            while not stopped():
                self.tick()
                time.sleep(TICK_S)
        finally:
            self.stop()

    def stop(self) -> None:
        """End all workers; what they cannot finish in time is put back."""
        for place in self._places:
            place.child.signal(signal.SIGTERM)
        until_s = time.monotonic() + self._stop_grace_s
        for place in self._places:
            status = place.child.end(until_s)
            if status not in (None, 0):
                self._deaths.append(_Death(place.worker, "its worker was stopped", again=True))
            elif place.failed is not None:
                self._deaths.append(_Death(place.failed.name, "", again=True))
        with contextlib.suppress(redis.RedisError):
            self._recover()

    def _place(self, slot: Slot, environment: Mapping[str, str]) -> _Place:
        def command() -> Sequence[str]:
            # A name is never used twice: RQ remembers dead workers for minutes.
            place.worker = f"{socket.gethostname()}-{slot.number}-{secrets.token_hex(4)}"
            place.ended = place.run = None
            return self._command(slot, place.worker)

        child = KeptChild(
            f"worker {slot.number}", command, {**environment, **slot_environment(slot)}
        )
        place = _Place(slot, child)
        return place

    def _died(self, place: _Place, worker: str, status: int) -> None:
        if status == EXIT_CANNOT_WARM:
            with contextlib.suppress(redis.RedisError):
                self._keep_reason(place, worker)
            return
        ended = place.ended or _Ended(f"its worker died (status {status})", again=True)
        log.warning("worker_died", worker=worker, status=status, why=ended.why)
        self._deaths.append(_Death(worker, ended.why, ended.again))

    def _keep_reason(self, place: _Place, worker: str) -> None:
        # It logged the reason itself. Its beats have ended; ours keep the reason in sight
        # until one is ready.
        told = {info.name: info for info in self._fleet.alive(60.0)}
        if place.failed is not None:
            self._fleet.forget(place.failed.name)
        place.failed = told.get(worker)

    def _recover(self) -> None:
        while self._deaths:
            death = self._deaths[0]
            requeue_of_dead(self._redis, death.worker, why=death.why, again=death.again)
            del self._deaths[0]
            self._suspect()

    def _suspect(self) -> None:
        self._suspects = misplaced_jobs(self._redis)
        self._second_look_s = time.monotonic() + _SECOND_LOOK_S

    def _look_around(self) -> None:
        now_s = time.monotonic()
        ready = {info.name for info in self._fleet.alive(60.0) if info.state == "ready"}
        for place in self._places:
            if place.failed is not None:
                if place.worker in ready:
                    self._fleet.forget(place.failed.name)
                    place.failed = None
                else:
                    self._fleet.beat(place.failed)
            if place.child.pid is not None and self._hangs(place, now_s):
                over = f"it ran longer than its timeout and {self._hang_grace_s:g} s"
                self._kill(place, _Ended(over, again=False))
        self._give_up_silent(now_s)
        put_back_stranded(self._redis)
        requeue_due_pushes(self._redis, self._settings, self._clock())
        request_due_trainings(self._redis, self._settings, self._clock())
        self._note_look(now_s)

    def _give_up_silent(self, now_s: float) -> None:
        places = {place.worker: place for place in self._places if place.child.pid is not None}
        for name, silent_s in self._silence.look(self._fleet.beats(), now_s).items():
            if silent_s <= self._settings.worker_lost_s:
                continue
            log.error("worker_lost", worker=name, silent_s=round(silent_s, 1))
            if name in places:
                # Stopped, or in a call that lets no other thread run: it takes no signal, and
                # would go on with a job that others have done since. Its death is seen next.
                self._kill(places[name], _Ended("its worker fell silent", again=True))
            else:
                self._deaths.append(_Death(name, "its worker fell silent", again=True))

    def _kill(self, place: _Place, ended: _Ended) -> None:
        log.error("worker_killed", worker=place.worker, pid=place.child.pid, why=ended.why)
        place.ended = ended
        place.child.signal(signal.SIGKILL)

    def _hangs(self, place: _Place, now_s: float) -> bool:
        """Whether its job is overdue; by our steady clock, for that of the record may be set."""
        job_id: Any = self._redis.hget(f"rq:worker:{place.worker}", "current_job")
        if not job_id:
            return False
        found: Any = self._redis.hmget(f"rq:job:{job_id.decode()}", "started_at", "timeout", LIMIT)
        started, timeout, limit = found
        if not started or not timeout:
            return False
        if place.run != (job_id, started):
            place.run, place.run_since_s = (job_id, started), now_s
        return now_s - place.run_since_s > int(limit or timeout) + self._hang_grace_s

    def _note_look(self, now_s: float) -> None:
        """After a time without Redis, have done what waited for it or was missed."""
        if now_s - self._looked_s > _BLIND_S:
            log.warning("supervisor_looks_again", after_s=round(now_s - self._looked_s, 1))
            for place in self._places:
                place.child.hurry()
            # What Label Studio reported meanwhile, nobody could keep.
            request_syncs(self._redis, self._settings, self._clock())
        self._looked_s = now_s

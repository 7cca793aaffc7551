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
from datetime import datetime, timezone
from typing import Any

import redis
import structlog

from backend.jobs.kept import KeptChild
from backend.jobs.push_requests import requeue_due_pushes
from backend.jobs.recovery import misplaced_jobs, put_back_misplaced, requeue_of_dead
from backend.jobs.riders import put_back_stranded
from backend.jobs.slots import Slot, slot_environment
from backend.jobs.sync_requests import request_syncs
from backend.jobs.training import request_due_trainings
from backend.jobs.worker import EXIT_CANNOT_WARM
from backend.settings import Settings
from backend.store.fleet import Fleet, WorkerInfo

log = structlog.get_logger(__name__)

TICK_S = 0.05
_LOOK_AROUND_S = 2.0
_SECOND_LOOK_S = 0.5  # a job in a worker's hands for a moment is not lost
HANG_GRACE_S = 15.0
STOP_GRACE_S = 20.0

Command = Callable[[Slot, str], Sequence[str]]
"""Command line of the worker of a slot with a name."""


def worker_command(slot: Slot, name: str) -> list[str]:
    """Command line of a worker process."""
    place = ["--device", slot.device, "--name", name, "--kind", slot.kind]
    return [sys.executable, "-m", "backend", "worker-slot", *place]


@dataclass
class _Place:
    """A slot with the worker in it. failed: what its last worker said when it could not start."""

    slot: Slot
    child: KeptChild
    worker: str = ""
    failed: WorkerInfo | None = None
    hung: bool = False


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

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [place.child.pid for place in self._places if place.child.pid is not None]

    def start(self) -> None:
        """Start all workers, look for jobs that were lost before, have ledgers repaired."""
        for place in self._places:
            place.child.start()
        self._suspect()
        request_syncs(self._redis, self._settings, time.time())

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
            place.hung = False
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
        why = (
            f"it ran longer than its timeout and {self._hang_grace_s:g} s"
            if place.hung
            else f"its worker died (status {status})"
        )
        log.warning("worker_died", worker=worker, status=status, why=why)
        self._deaths.append(_Death(worker, why, again=not place.hung))

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
        ready = {info.name for info in self._fleet.alive(60.0) if info.state == "ready"}
        for place in self._places:
            if place.failed is not None:
                if place.worker in ready:
                    self._fleet.forget(place.failed.name)
                    place.failed = None
                else:
                    self._fleet.beat(place.failed)
            if place.child.pid is not None and self._hangs(place.worker):
                log.error("worker_hangs", worker=place.worker, pid=place.child.pid)
                place.hung = True
                place.child.signal(signal.SIGKILL)
        for name in self._fleet.lost(self._settings.worker_lost_s):
            log.error("worker_lost", worker=name, silent_s=self._settings.worker_lost_s)
            self._deaths.append(_Death(name, "its worker fell silent", again=True))
        put_back_stranded(self._redis)
        requeue_due_pushes(self._redis, self._settings, time.time())
        request_due_trainings(self._redis, self._settings, time.time())

    def _hangs(self, worker: str) -> bool:
        job_id: Any = self._redis.hget(f"rq:worker:{worker}", "current_job")
        if not job_id:
            return False
        found: Any = self._redis.hmget(f"rq:job:{job_id.decode()}", "started_at", "timeout")
        started, timeout = found
        if not started or not timeout:
            return False
        began = datetime.fromisoformat(started.decode().replace("Z", "+00:00"))
        running_s = (datetime.now(timezone.utc) - began).total_seconds()
        return running_s > int(timeout) + self._hang_grace_s

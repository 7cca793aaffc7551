"""One worker process: a warm model and a loop over the queues.

RQ's SimpleWorker runs jobs in this very process: nothing is forked after threads or CUDA
exist, the model is loaded once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis
import structlog
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseTimeoutException
from rq.utils import now
from rq.worker_registration import clean_worker_registry

from backend.domain import BackboneIdentity
from backend.errors import BackendError
from backend.jobs.agreement import in_turn
from backend.jobs.process import runtime_form
from backend.jobs.queues import QUEUES, REQUEST_ID, TRAIN_QUEUES, SafeJob, queue
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.counters import Counters
from backend.store.fleet import Fleet, WorkerInfo, WorkerKind

log = structlog.get_logger(__name__)

EXIT_CANNOT_WARM = 3
"""Exit status of a worker whose model could not be loaded."""

_ORPHAN_GRACE_S = 20.0
_AWAY_PAUSE_S = 2.0
"""Longest pause before an idle worker looks again for a Redis that is away; RQ's is a minute."""

Warm = Callable[[Settings, str], BackboneIdentity]
"""Loads the model on a device and says what it is."""


def run_worker(
    settings: Settings, *, name: str, device: str, warm: Warm, kind: WorkerKind = "predict"
) -> int:
    """Load the model, then work until SIGTERM; returns the exit status.

    name: unique among all workers, never used before. kind: which queues to empty. Call it
    from the main thread: job timeouts are signals.
    """
    connection = connect(settings.redis_url)
    info = WorkerInfo(name, socket.gethostname(), os.getpid(), device, "", "starting", kind=kind)
    pulse = Pulse(connection, info, settings.heartbeat_s)
    try:
        with structlog.contextvars.bound_contextvars(worker=name):
            try:
                with in_turn(settings, connection):
                    identity = warm(settings, device)
                    Fleet(connection).publish_identity(identity)
                    pulse.change(state="ready", backbone=identity.name, runtime=runtime_form())
                    pulse.tell(identity)
            except BackendError as error:
                log.error("worker_cannot_start", reason=str(error))
                pulse.change(state="failed", reason=str(error))
                return EXIT_CANNOT_WARM
            log.info("worker_ready", device=device, backbone=identity.name, weights=identity.source)
            worker = SlotWorker(connection, name, on_job_done=pulse.count_job, kind=kind)
            worker.work(logging_level="WARNING")
            # Without Redis the supervisor of whoever finds us silent strikes us off.
            with contextlib.suppress(redis.RedisError):
                Fleet(connection).forget(name)
            return 0
    finally:
        pulse.stop()
        connection.close()


class Pulse:
    """Beats in a thread of its own, also while a job runs; beats at once on a change.

    It also ends a process whose parent died and that does not end by itself.
    """

    def __init__(self, connection: redis.Redis, info: WorkerInfo, every_s: float) -> None:
        self._fleet = Fleet(connection)
        self._info = info
        self._every_s = every_s
        self._identity: BackboneIdentity | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._parent_pid = os.getppid()
        self._fleet.beat(info)
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def change(self, **fields: Any) -> None:
        """Tell another state from now on."""
        with self._lock:
            self._info = replace(self._info, **fields)
            self._fleet.beat(self._info)

    def tell(self, identity: BackboneIdentity) -> None:
        """Say again with each beat what was loaded, for a Redis that has lost it."""
        with self._lock:
            self._identity = identity

    def count_job(self) -> None:
        """One more job is done; told with the next beat."""
        with self._lock:
            self._info = replace(self._info, jobs_done=self._info.jobs_done + 1)

    def stop(self) -> None:
        """Beat no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        orphaned_s = 0.0
        while not self._stop.wait(self._every_s):
            try:
                with self._lock:
                    self._fleet.beat(self._info)
                    if self._identity is not None:
                        self._fleet.publish_identity(self._identity, unless_told=True)
            except redis.RedisError as error:
                log.warning("beat_failed", reason=str(error))
            if os.getppid() != self._parent_pid:
                orphaned_s += self._every_s
            if orphaned_s > _ORPHAN_GRACE_S:
                # The kernel's SIGTERM asked already; a call that never returns hears none.
                os._exit(1)


class SlotWorker(SimpleWorker):  # type: ignore[misc, unused-ignore]
    """RQ's worker with our queues in strict order, our log and our rule for retries."""

    max_connection_wait_time = _AWAY_PAUSE_S

    def __init__(
        self,
        connection: redis.Redis,
        name: str,
        *,
        on_job_done: Callable[[], None],
        kind: WorkerKind = "predict",
    ) -> None:
        names = TRAIN_QUEUES if kind == "train" else QUEUES
        super().__init__(
            [queue(connection, item) for item in names],
            name=name,
            connection=connection,
            job_class=SafeJob,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._on_job_done = on_job_done

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Run one job with its id in every log line, and that of the request behind it."""
        behind = {REQUEST_ID: job.meta[REQUEST_ID]} if REQUEST_ID in job.meta else {}
        with structlog.contextvars.bound_contextvars(job=job.id, queue=queue.name, **behind):
            done = bool(super().perform_job(job, queue))
            self._on_job_done()
            return done

    def clean_registries(self) -> None:
        """Forget what ended long ago; RQ's own also gives up jobs that run.

        It compares this machine's clock with a time that another's wrote, so that one whose
        clock is ahead would take work out of the others' hands. ``recovery`` knows the dead.
        """
        for one in self.queues:
            if one.acquire_maintenance_lock():
                one.finished_job_registry.cleanup()
                one.failed_job_registry.cleanup()
                clean_worker_registry(one)
                one.release_maintenance_lock()  # type: ignore[no-untyped-call]
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def handle_job_failure(
        self, job: Job, queue: Queue, started_job_registry: Any = None, exc_string: str = ""
    ) -> None:
        """Fail at once, unless the error itself says that another try can help.

        Retries are for dead workers; a job that raised would only raise again.
        """
        error = sys.exc_info()[1]
        passing = isinstance(error, redis.RedisError)  # it was away, or its disk full
        if not (passing or (isinstance(error, BackendError) and error.retry)):
            job.retries_left = None
        log.error(
            "job_failed",
            reason=str(error) or type(error).__name__,
            trace=None if isinstance(error, BackendError) else traceback.format_exc(),
        )
        super().handle_job_failure(job, queue, started_job_registry, exc_string)
        Counters(self.connection).add("jobs_failed", {"queue": queue.name, "code": _code(error)})


def _code(error: BaseException | None) -> str:
    # Few words only: each is a time series.
    if isinstance(error, BackendError):
        return error.code
    return "job_timeout" if isinstance(error, BaseTimeoutException) else "unexpected"

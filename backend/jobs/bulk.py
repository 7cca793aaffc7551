"""Pre-annotating a whole project: page after page through the queue, into Label Studio.

Where a run stops, the next one goes on: what Label Studio has of the version is not asked
for, and what the cache has is pushed without a worker.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import redis
import structlog

from backend.domain import Failed
from backend.errors import JobNotFound, LabelStudioUnreachable, RequestError, StoreUnavailable
from backend.jobs.enqueue import Dispatcher, PredictCall, Ticket
from backend.jobs.pages import dated
from backend.jobs.push import Push
from backend.jobs.push_requests import push_state
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings
from backend.store.clock import SharedClock
from backend.store.deliveries import Deliveries
from backend.store.fleet import Fleet

log = structlog.get_logger(__name__)

CALLS_IN_FLIGHT = 3
"""Of a fleet that one page keeps busy; a larger one gets as many times more."""

NO_WORKER_S = 30.0
"""Silence of all workers after which waiting for them is given up."""

_MOST_VERSIONS = 5
_PAGE_CARRIERS = 16
_STEP_S = 1.0
_PUSH_ATTEMPTS = 6
_FOREIGN_PUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task without a prediction in Label Studio at the end, and why."""

    task_id: int
    code: str
    reason: str


@dataclass
class BulkReport:
    """tasks: how many lacked the version at first. stored: how many have it now."""

    project_id: int
    version: str
    tasks: int = 0
    stored: int = 0
    failures: list[TaskFailure] = field(default_factory=list)


class VersionChanged(RequestError):
    """Another version came into use in the middle of a run."""

    def __init__(self, before: str, now: str) -> None:
        super().__init__(
            f"The version changed from {before} to {now} while the project was pre-annotated.",
            "Heads are published faster than the project is predicted, or workers have "
            "different weights. Run this again.",
        )


class Bulk:
    """One run over one project.

    on_progress: called with the number of tasks predicted (or failed) so far and the total.
    unpredicted_only: leave alone what has a prediction of another version.
    """

    def __init__(
        self,
        settings: Settings,
        connection: redis.Redis,
        client: LabelStudioClient,
        project_id: int,
        *,
        unpredicted_only: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._settings = settings
        self._redis = connection
        self._client = client
        self._project_id = project_id
        self._unpredicted_only = unpredicted_only
        self._on_progress = on_progress
        self._dispatcher = Dispatcher(settings, connection)
        self._fleet = Fleet(connection)
        self._deliveries = Deliveries(connection)
        self._clock = SharedClock(connection)
        self._in_flight: deque[Ticket] = deque()
        self._done = 0

    def run(self) -> BulkReport:
        """Predict and push all that lacks the current version.

        Where another version comes into use meanwhile, as after a training, it begins again
        with that one. Interrupted, it cancels the jobs it queued and raises on.
        Raises: LabelStudioError, LabelConfigInvalid, StoreUnavailable, VersionChanged where
        that happens again and again.
        """
        for _ in range(_MOST_VERSIONS - 1):
            try:
                return self._run()
            except VersionChanged as change:
                log.info("preannotate_begins_again", project=self._project_id, reason=change.what)
                self._in_flight.clear()
                self._done = 0
        return self._run()

    def _run(self) -> BulkReport:
        label_config = self._client.project(self._project_id).label_config
        project = str(self._project_id)
        version = self._dispatcher.model_version(project, label_config)
        only = self._unpredicted_only
        total = self._client.count_lacking(self._project_id, version, unpredicted_only=only)
        report = BulkReport(self._project_id, version, total)
        self._on_progress(0, total)
        try:
            pages = self._client.tasks_lacking_version(
                self._project_id, version, page_size=self._page_size(), unpredicted_only=only
            )
            for page, known_s in dated(pages):
                call = PredictCall(project, label_config, tuple(page), "bulk")
                ticket = self._dispatcher.begin(call, known_s)
                if ticket.version != version:
                    raise VersionChanged(version, ticket.version)
                # No reply waits for the first few: the call is complete when all its jobs are.
                ticket.watch = replace(ticket.watch, enough=None)
                self._dispatcher.defer_all(ticket)
                self._in_flight.append(ticket)
                if len(self._in_flight) >= self._calls_wanted():
                    self._complete(report)
            while self._in_flight:
                self._complete(report)
            self._push_rest()
        except BaseException:
            self._cancel()
            raise
        self._check(report)
        return report

    def _page_size(self) -> int:
        """A carrier for every worker, as far as one page of Label Studio goes."""
        return self._settings.carrier_tasks * min(max(self._workers(), 1), _PAGE_CARRIERS)

    def _calls_wanted(self) -> int:
        """So many that each worker has its carrier, and more that wait."""
        return CALLS_IN_FLIGHT * max(1, -(-self._workers() // _PAGE_CARRIERS))

    def _workers(self) -> int:
        return len(self._fleet.alive(self._settings.worker_lost_s, "predict"))

    def _complete(self, report: BulkReport) -> None:
        """Wait for the oldest call, note its failures, push what it has."""
        ticket = self._in_flight[0]
        heard_s = time.monotonic()
        while not ticket.watch.over:
            self._dispatcher.wait_blocking(ticket, time.monotonic() - ticket.begun_at_s + _STEP_S)
            if self._fleet.alive(self._settings.worker_lost_s, "predict"):
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > NO_WORKER_S:
                raise StoreUnavailable(
                    f"No worker has been heard of for {NO_WORKER_S:.0f} s.",
                    "Start one with `python -m backend worker` against the same REDIS_URL, "
                    "then run this again: it goes on where it stopped.",
                )
        self._dispatcher.collect(ticket)
        self._in_flight.popleft()
        for task, key, answer in zip(ticket.call.tasks, ticket.keys, ticket.answers, strict=True):
            if isinstance(answer, Failed):
                report.failures.append(TaskFailure(task.id or 0, answer.code, answer.reason))
            elif answer is None:
                reason = self._job_reason(ticket.job_of.get(key or "", ""))
                report.failures.append(TaskFailure(task.id or 0, "job_failed", reason))
        self._done += len(ticket.call.tasks)
        self._on_progress(self._done, report.tasks)
        self._push()

    def _push(self) -> None:
        Push(self._settings, self._redis, self._client, str(self._project_id)).run()

    def _push_rest(self) -> None:
        """Push until nothing waits; workers may be pushing the same project beside us.

        What another pusher holds is waited for, but not longer than a push may take.
        """
        project, failures = str(self._project_id), 0
        patience_s = time.monotonic() + self._settings.label_studio_timeout_s
        while project in self._deliveries.projects_with_pending():
            state = push_state(self._redis, project)
            failures = failures + 1 if state.failures else 0
            if failures >= _PUSH_ATTEMPTS:
                raise LabelStudioUnreachable(
                    "Predictions could not be pushed into Label Studio.",
                    "The log above says why. They are kept: workers go on trying, and running "
                    "this again pushes them.",
                )
            if not self._deliveries.pending_count(project) and not state.failures:
                if time.monotonic() > patience_s:
                    return  # its pusher may have died; the claim is settled when it is stale
                time.sleep(_FOREIGN_PUSH_S)
                continue
            patience_s = time.monotonic() + self._settings.label_studio_timeout_s
            pause_s = max(_FOREIGN_PUSH_S, state.not_before_s - self._clock())
            time.sleep(pause_s if state.failures else _FOREIGN_PUSH_S)
            self._push()

    def _check(self, report: BulkReport) -> None:
        """Ask Label Studio what it still lacks; a task may have been refused or deleted."""
        known = {failure.task_id for failure in report.failures}
        for page in self._client.tasks_lacking_version(
            self._project_id, report.version, unpredicted_only=self._unpredicted_only
        ):
            report.failures += [
                TaskFailure(
                    task.id,
                    "not_stored",
                    "Label Studio did not store its prediction, or it came in meanwhile.",
                )
                for task in page
                if task.id is not None and task.id not in known
            ]
        report.stored = max(0, report.tasks - len(report.failures))

    def _job_reason(self, job_id: str) -> str:
        try:
            view = self._dispatcher.job(job_id)
        except JobNotFound:
            return "Its job is gone."
        return view.reason or f"Its job ended as {view.state}."

    def _cancel(self) -> None:
        for ticket in self._in_flight:
            for job_id in ticket.own_jobs:
                try:
                    self._dispatcher.cancel(job_id)
                except JobNotFound:
                    continue  # finished and forgotten

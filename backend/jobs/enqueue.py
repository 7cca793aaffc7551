"""From a call with tasks to their predictions: cache, carriers, waiting, deliveries.

Imports neither torch nor OpenCV: the server lives on this module.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import redis
import redis.asyncio
import structlog
from rq.queue import Queue

from backend.domain import BackboneIdentity, Failed, Task
from backend.errors import MediaError
from backend.jobs import wait as waiting
from backend.jobs.addresses import films_of, looks_of, reduce_data
from backend.jobs.claims import CLAIM_TTL_S, jobs_at_work, new_job_id
from backend.jobs.payload import Carrier, CarrierTask, carrier_sizes
from backend.jobs.process import prediction_cache
from backend.jobs.push_requests import request_push
from backend.jobs.queues import FAILURE_TTL_S, RESULT_TTL_S, asked_by, queue, retry_of
from backend.jobs.versions import backbone_identity, head_for, model_version
from backend.jobs.views import JobView, cancel_job, job_view
from backend.labelstudio.interaction import read_interaction
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.labelstudio.prediction import build_prediction
from backend.settings import Settings
from backend.store import keys
from backend.store.clock import SharedClock
from backend.store.counters import Counters
from backend.store.deliveries import Deliveries
from backend.store.fleet import Fleet
from backend.store.heads import HeadRef, HeadStore
from backend.store.predictions import task_key
from backend.store.projects import ProjectStore

log = structlog.get_logger(__name__)

CARRIER_JOB = "backend.jobs.carrier.run"
INTERACTIVE_JOB = "backend.jobs.interactive.run"
_CONFIGS_KEPT = 64


@dataclass(frozen=True)
class PredictCall:
    """Tasks of one project to be predicted.

    project_id: Label Studio's. queue: interactive for one task, predict, or bulk.
    context: what an annotator points at on the call's one task, as Label Studio sends it;
        None where whole tasks are meant.
    """

    project_id: str
    label_config: str
    tasks: tuple[Task, ...]
    queue: str = "predict"
    context: Mapping[str, Any] | None = None


@dataclass
class Ticket:
    """A call on its way.

    version: model_version of every answer. asked_at_s: when the call came in, 0 where nothing
    can be pushed (epoch, Redis's clock).
    begun_at_s: the same on the monotonic clock, from which deadlines count.
    keys: cache key per task, None where the task cannot be asked at all.
    answers: what is known so far per task; None is open.
    cached: positions that needed no worker.
    job_of: the job at work by cache key. own_jobs: those of them that this call queued.
    watch: what is still waited for.
    """

    call: PredictCall
    version: str
    asked_at_s: float
    begun_at_s: float
    keys: list[str | None]
    answers: list[bytes | Failed | None]
    cached: frozenset[int] = frozenset()
    job_of: dict[str, str] = field(default_factory=dict)
    own_jobs: list[str] = field(default_factory=list)
    watch: waiting.Watch = field(default_factory=lambda: waiting.Watch({}))

    def open(self) -> list[int]:
        """Positions without an answer yet."""
        return [i for i, answer in enumerate(self.answers) if answer is None]


@dataclass(frozen=True, slots=True)
class _Model:
    """What a version consists of, beside the settings."""

    spec: LabelSpec
    backbone_digest: str
    head_number: int


class Dispatcher:
    """Gives calls to the workers and their answers back.

    now_s: seconds since the epoch, Redis's where not given.
    """

    def __init__(
        self,
        settings: Settings,
        connection: redis.Redis,
        *,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._redis = connection
        self._now_s = now_s or SharedClock(connection)
        self._cache = prediction_cache(settings, connection)
        self._projects = ProjectStore(connection)
        self._fleet = Fleet(connection)
        self._counters = Counters(connection)
        self._deliveries = Deliveries(connection)
        self._heads = HeadStore(connection, most=settings.heads_kept)
        self._spec: Callable[[str], LabelSpec] = lru_cache(_CONFIGS_KEPT)(parse_label_config)

    def model_version(self, project_id: str, label_config: str) -> str:
        """``<backbone>-<head number>-<hash>`` for a project as it stands; two round trips.

        Raises: LabelConfigInvalid.
        """
        return self._version(project_id, self._spec(label_config))[0]

    def versions(self, project_id: str, label_config: str) -> list[str]:
        """The version in use, then those of the other kept heads, newest first.

        Raises: LabelConfigInvalid.
        """
        spec = self._spec(label_config)
        current, identity, head = self._version(project_id, spec)
        others = [
            model_version(identity, ref, spec.fingerprint, self._settings)
            for ref in self._heads.refs(project_id)
            if ref.number != head.number and head_for(identity, ref).number
        ]
        return [current, *others]

    def begin(self, call: PredictCall, came_at_s: float | None = None) -> Ticket:
        """Look up what is known and have the rest predicted.

        What another call has in the works is waited for, not done twice. Three round trips
        where everything is cached. came_at_s: on the monotonic clock, now where not given.
        Raises: LabelConfigInvalid, StoreUnavailable.
        """
        begun_at_s = time.monotonic() if came_at_s is None else came_at_s
        # Label Studio decided before it called what it lacks, and Redis may have been away since.
        now_s = self._now_s() if self._can_push(call) else 0.0
        asked_at_s = now_s - (time.monotonic() - begun_at_s) if now_s else 0.0
        spec = self._spec(call.label_config)
        version, identity, head = self._version(call.project_id, spec)
        asked = [_asked(spec, version, task, call.context) for task in call.tasks]
        task_keys = [item.key if isinstance(item, CarrierTask) else None for item in asked]
        # A key that is asked for twice in one call is looked up, claimed and carried once.
        unique = {item.key: item for item in asked if isinstance(item, CarrierTask)}
        known = dict(zip(unique, self._cache.get_many(list(unique)), strict=True))
        answers = [known[item.key] if isinstance(item, CarrierTask) else item for item in asked]
        ticket = Ticket(call, version, asked_at_s, begun_at_s, task_keys, answers)
        ticket.cached = frozenset(i for i, answer in enumerate(answers) if answer is not None)
        missing = [item for key, item in unique.items() if known[key] is None]
        if missing:
            self._dispatch(ticket, _Model(spec, identity.digest, head.number), missing)
        return ticket

    async def wait(
        self, ticket: Ticket, connection: redis.asyncio.Redis, deadline_s: float
    ) -> None:
        """Wait for the ticket's jobs, at most until deadline_s seconds after ``begin``."""
        until_s = ticket.begun_at_s + deadline_s
        ticket.watch = await waiting.wait(connection, ticket.watch, until_s)

    def wait_blocking(self, ticket: Ticket, deadline_s: float) -> None:
        """The same in this thread."""
        until_s = ticket.begun_at_s + deadline_s
        ticket.watch = waiting.wait_blocking(self._redis, ticket.watch, until_s)

    def collect(self, ticket: Ticket) -> None:
        """Take from the cache what has been finished since; one round trip."""
        open_at = ticket.open()
        found = self._cache.get_many([ticket.keys[i] or "" for i in open_at])
        for position, answer in zip(open_at, found, strict=True):
            ticket.answers[position] = answer

    def finish(self, ticket: Ticket) -> list[bytes | None]:
        """Per task, in order, the prediction as JSON, or None: nothing to store now.

        With an API key, what is not in this reply is pushed once it is done, and what has
        been pushed meanwhile is not in this reply.
        """
        self.collect(ticket)
        replies: list[bytes | None] = [
            answer if isinstance(answer, bytes) else None for answer in ticket.answers
        ]
        deferred: dict[int, str] = {}
        if self._can_push(ticket.call):
            self._limit_fresh(ticket, replies)
            deferred = self._left_for_push(ticket, replies)
            self._leave_out_pushed(ticket, replies)
            self._defer(ticket, deferred)
        self._report(ticket, replies, len(deferred))
        return replies

    def defer_all(self, ticket: Ticket) -> None:
        """Have every task of the call pushed, the cached ones at once; none is replied."""
        self._defer(
            ticket,
            {
                task.id: key
                for task, key in zip(ticket.call.tasks, ticket.keys, strict=True)
                if task.id is not None and key is not None
            },
        )

    def job(self, job_id: str) -> JobView:
        """What became of a job. Raises: JobNotFound."""
        return job_view(self._redis, job_id)

    def cancel(self, job_id: str) -> JobView:
        """Stop a job: at once where it waits, after the batch in hand or the next where it runs.

        A job that has ended stays as it is. Raises: JobNotFound.
        """
        return cancel_job(self._redis, self._cache, job_id)

    # ---- begin

    def _version(self, project_id: str, spec: LabelSpec) -> tuple[str, BackboneIdentity, HeadRef]:
        """The version, with the weights and the head it is named after."""
        identity = backbone_identity(self._settings, self._fleet.identity())
        head = head_for(identity, self._projects.head(project_id))
        return model_version(identity, head, spec.fingerprint, self._settings), identity, head

    def _dispatch(self, ticket: Ticket, model: _Model, missing: Sequence[CarrierTask]) -> None:
        # Queued before anybody else's jobs are looked for: they may be looking for ours.
        self._claim_and_queue(ticket, model, missing)
        taken = {key: job for key, job in ticket.job_of.items() if job not in ticket.own_jobs}
        alive = jobs_at_work(self._redis, taken.values())
        if orphans := {key: job for key, job in taken.items() if job not in alive}:
            # Their job has ended without doing them.
            for job in set(orphans.values()):
                self._cache.release([key for key, of in orphans.items() if of == job], job)
            left = [task for task in missing if task.key in orphans]
            self._claim_and_queue(ticket, model, left)
        self._watch(ticket, len(missing))

    def _claim_and_queue(self, ticket: Ticket, model: _Model, tasks: Sequence[CarrierTask]) -> None:
        # A video is a job of its own, whose parts several workers share.
        most = 1 if model.spec.films else self._settings.carrier_tasks
        if carriers := self._claim(ticket, tasks, most):
            self._projects.put_config(model.spec.fingerprint, ticket.call.label_config)
            self._enqueue(ticket, model, carriers)

    def _claim(
        self, ticket: Ticket, tasks: Sequence[CarrierTask], most: int
    ) -> dict[str, list[CarrierTask]]:
        """Claim tasks carrier by carrier; job id -> tasks that are ours."""
        alive = self._fleet.alive(self._settings.worker_lost_s, "predict")
        ready = sum(worker.state == "ready" for worker in alive)
        carriers: dict[str, list[CarrierTask]] = {}
        start = 0
        for size in carrier_sizes(len(tasks), ready, most):
            part = tasks[start : start + size]
            start += size
            job_id = new_job_id(ticket.call.queue, time.time())
            owners = self._cache.claim([task.key for task in part], job_id, CLAIM_TTL_S)
            ticket.job_of.update(zip((task.key for task in part), owners, strict=True))
            own = [task for task, owner in zip(part, owners, strict=True) if owner == job_id]
            if own:
                carriers[job_id] = own
        return carriers

    def _enqueue(
        self,
        ticket: Ticket,
        model: _Model,
        carriers: Mapping[str, Sequence[CarrierTask]],
    ) -> None:
        told = {"done": 0, **asked_by()}
        jobs = [
            Queue.prepare_data(
                CARRIER_JOB if ticket.call.context is None else INTERACTIVE_JOB,
                args=(
                    Carrier(
                        ticket.call.project_id,
                        ticket.version,
                        model.backbone_digest,
                        model.spec.fingerprint,
                        tuple(own),
                        model.head_number,
                    ).to_json(),
                ),
                job_id=job_id,
                timeout=self._settings.job_timeout_s,
                result_ttl=RESULT_TTL_S,
                failure_ttl=FAILURE_TTL_S,
                meta={"total": len(own), "project": ticket.call.project_id, **told},
                retry=retry_of(self._settings),
                description=f"{len(own)} tasks of project {ticket.call.project_id}",
            )
            for job_id, own in carriers.items()
        ]
        queue(self._redis, ticket.call.queue).enqueue_many(jobs)
        ticket.own_jobs += carriers

    def _can_push(self, call: PredictCall) -> bool:
        # A call by hand may name no project that Label Studio has, and what an annotator
        # asked for with a smart tool is for the editor that is open, not to be stored.
        if call.context is not None:
            return False
        return self._settings.can_push and keys.project_id_of(call.project_id).isdecimal()

    def _watch(self, ticket: Ticket, missing: int) -> None:
        tasks_of: dict[str, int] = {}
        for position in ticket.open():
            job_id = ticket.job_of[ticket.keys[position] or ""]
            tasks_of[job_id] = tasks_of.get(job_id, 0) + 1
        inline = self._settings.predict_inline_tasks
        enough = inline if self._can_push(ticket.call) and missing > inline else None
        ticket.watch = waiting.Watch(tasks_of, enough)

    # ---- finish

    def _limit_fresh(self, ticket: Ticket, replies: list[bytes | None]) -> None:
        """Keep the first fresh answers of a large call; a push stores the others faster."""
        tasks = ticket.call.tasks
        fresh = [
            i
            for i, reply in enumerate(replies)
            if reply is not None and i not in ticket.cached and tasks[i].id is not None
        ]
        for position in fresh[self._settings.predict_inline_tasks :]:
            replies[position] = None

    def _left_for_push(self, ticket: Ticket, replies: Sequence[bytes | None]) -> dict[int, str]:
        """Task id -> cache key of what is done but not in the reply, or still in the works."""
        left: dict[int, str] = {}
        for position, task in enumerate(ticket.call.tasks):
            key, answer = ticket.keys[position], ticket.answers[position]
            if replies[position] is not None or task.id is None or key is None:
                continue
            in_the_works = answer is None and ticket.job_of.get(key) in ticket.watch.tasks_of
            if isinstance(answer, bytes) or in_the_works:
                left[task.id] = key
        return left

    def _leave_out_pushed(self, ticket: Ticket, replies: list[bytes | None]) -> None:
        wanted = {
            task.id: position
            for position, task in enumerate(ticket.call.tasks)
            if task.id is not None and replies[position] is not None
        }
        allowed = self._deliveries.take_inline(
            ticket.call.project_id, ticket.version, wanted, ticket.asked_at_s, self._now_s()
        )
        for task_id, position in wanted.items():
            if task_id not in allowed:
                replies[position] = None

    def _defer(self, ticket: Ticket, items: Mapping[int, str]) -> None:
        if not items or not self._can_push(ticket.call):
            return
        project_id = ticket.call.project_id
        self._deliveries.defer(project_id, ticket.version, items, asked_at_s=ticket.asked_at_s)
        # Some may have been finished before they were noted, when no carrier is left that
        # would ask for the push at its end.
        request_push(self._redis, self._settings, project_id, self._now_s())

    def _report(self, ticket: Ticket, replies: Sequence[bytes | None], deferred: int) -> None:
        counts = {"deferred": deferred, "answered": sum(reply is not None for reply in replies)}
        for position, answer in enumerate(ticket.answers):
            if isinstance(answer, Failed):
                counts["failed"] = counts.get("failed", 0) + 1
                log.warning(
                    "task_failed",
                    project=ticket.call.project_id,
                    task=ticket.call.tasks[position].id,
                    code=answer.code,
                    reason=answer.reason,
                )
        log.info(
            "predict_call_answered",
            project=ticket.call.project_id,
            tasks=len(replies),
            cached=len(ticket.cached),
            version=ticket.version,
            **counts,
        )
        hits = len(ticket.cached)
        self._counters.add_many(
            [
                *(("answers", {"outcome": outcome}, count) for outcome, count in counts.items()),
                ("cache_lookups", {"result": "hit"}, hits),
                ("cache_lookups", {"result": "miss"}, len(replies) - hits),
            ]
        )


def _asked(
    spec: LabelSpec, version: str, task: Task, context: Mapping[str, Any] | None
) -> CarrierTask | Failed | bytes:
    """What a worker is to do for a task, or its answer where none is needed."""
    try:
        looks_of(spec, task.data)
        films_of(spec, task.data)
    except MediaError as error:
        return Failed(error.code, str(error))
    data = reduce_data(spec, task.data)
    if context is None:
        return CarrierTask(task_key(version, spec.fingerprint, data), task.id, data)
    wanted = read_interaction(context, spec, task.data)
    if wanted is None:
        nothing = build_prediction(spec, [], model_version=version, region_id_seed="")
        return json.dumps(nothing).encode()
    record = wanted.to_json()
    key = task_key(f"interactive {version}", spec.fingerprint, {"task": data, "asked": record})
    return CarrierTask(key, task.id, data, record)

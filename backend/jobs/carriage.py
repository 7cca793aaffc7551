"""One run of a carrier: pictures in, finished predictions into the cache.

Fetching and decoding run ahead in threads while the device works on a batch. What a batch
completes goes to the cache behind the next one, so that a job that dies loses two at most.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import redis
import structlog
from rq.job import Job
from rq.timeouts import BaseTimeoutException

from backend.domain import Failed, Picture, Predicted, U8Array
from backend.errors import BackendError, JobCancelled, LabelStudioError, MediaError
from backend.jobs.addresses import Look, looks_of
from backend.jobs.ahead import Ahead
from backend.jobs.answers import LearnedAnswers, answer_looks, learned_answers, needs_look
from backend.jobs.batch_sizes import BATCH_SIZES, size_class
from backend.jobs.behind import Behind
from backend.jobs.fetching import fetch_picture
from backend.jobs.learner import TrainedHead
from backend.jobs.outlining import follows_thing, with_outlines
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import Process
from backend.jobs.push_requests import request_push
from backend.jobs.room import no_room
from backend.jobs.serving import spec_of
from backend.jobs.sight import Eyes, objects_wanted
from backend.jobs.video import found_in_films
from backend.jobs.views import cancel_wanted
from backend.labelstudio.labelspec import LabelSpec
from backend.labelstudio.prediction import Found, build_prediction, check_prediction
from backend.store import keys
from backend.store.clock import SharedClock
from backend.store.recent import RecentPredictions
from backend.vision.detect import prepare
from backend.vision.objects import Sight

log = structlog.get_logger(__name__)

_PROBLEMS_SHOWN = 5
_BATCHES_AHEAD = 2
_FIRST_BATCH = 2
"""Pictures after which the device starts, each batch twice the one before until they are full:
it would stand still while a whole first batch is fetched."""

T = TypeVar("T")
Outcomes = dict[str, Predicted | Failed]
Count = tuple[str, Mapping[str, str], int]


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture ready for the device. square_u8: (S, S, 3)."""

    picture: Picture
    square_u8: U8Array


@dataclass
class _Work:
    """A task in the making. left: its pictures not yet seen. found: by position in looks.

    error: why a picture cannot be had.
    """

    task: CarrierTask
    looks: Sequence[Look]
    left: set[str]
    found: dict[int, Found]
    error: BackendError | None = None


class Carriage:
    """One run of one carrier. on_stored: told what has just gone into the cache.

    failures: the tasks that could not be done, by key.
    """

    def __init__(
        self,
        process: Process,
        carrier: Carrier,
        job: Job | None,
        on_stored: Callable[[Outcomes], None] = lambda outcomes: None,
    ) -> None:
        self._process = process
        self._carrier = carrier
        self._job = job
        self._on_stored = on_stored
        self._undone = {task.key for task in carrier.tasks}
        self._cancelled = False
        self._works: dict[str, _Work] = {}
        self._head: TrainedHead | None = None
        self._eyes = Eyes(process.backbone, process.learner, None)
        self._predicted = 0
        self._failed: Counter[str] = Counter()
        self.failures: dict[str, Failed] = {}
        self._seconds: dict[str, float] = {}
        self._recent = RecentPredictions(process.connection)
        self._pictures = 0
        self._batches = 0
        self._batch_sizes: Counter[str] = Counter()

    def run(self) -> None:
        """Do every task that is not done yet, count it, have it pushed."""
        self.compute()
        self._count()
        self._ask_for_push()

    def compute(self) -> None:
        """Do every task that is not done yet."""
        spec = spec_of(self._process, self._carrier)
        job = self._job
        self._cancelled = job is not None and cancel_wanted(self._process.connection, job.id)
        self._stop_if_cancelled()
        if self._carrier.head_number:
            project_id = keys.project_id_of(self._carrier.project_id)
            self._head = self._process.heads.get(project_id, self._carrier.head_number)
        wanted = objects_wanted(spec.active)
        self._eyes = Eyes(self._process.backbone, self._process.learner, wanted)
        self._plan(spec)
        size = self._process.settings.batch_pictures
        depth = _BATCHES_AHEAD * size
        with (
            Behind() as behind,
            Ahead(self._process.pool, self._prepared, self._addresses(), depth) as ahead,
        ):
            count = min(_FIRST_BATCH, size)
            while batch := self._timed("fetch_wait", partial(ahead.take, count)):
                count = min(2 * count, size)
                self._stop_if_cancelled()
                pictures = {address: result for (address, _), result in batch}
                pictures |= self._seen(pictures)
                settle = partial(self._settle, spec, self._settled(pictures), pictures)
                del batch, pictures
                if ahead.ended:
                    behind.wait()
                    settle()  # no batch comes in whose shadow it could be done
                else:
                    behind.put(settle)
                del settle

    def work_done(self) -> list[Count]:
        """What it took, for the counters."""
        return [
            ("pictures", {}, self._pictures),
            ("batches", {}, self._batches),
            *((BATCH_SIZES, {"le": le}, n) for le, n in self._batch_sizes.items()),
            *(("stage_ms", {"stage": s}, round(t * 1000)) for s, t in self._seconds.items()),
        ]

    def summary(self) -> dict[str, Any]:
        """The job's return value."""
        return {"predicted": self._predicted, "failed": dict(self._failed)}

    def give_up(self, error: Exception) -> None:
        """Leave what is not done so that others know: failed, or free for the next call."""
        passing = isinstance(error, BackendError) and error.retry
        if passing and self._job is not None and self._job.should_retry:
            return  # the worker has it done again
        if isinstance(error, redis.RedisError):
            return  # nothing can be written; the claims run out with the job
        undone = list(self._undone)
        if not isinstance(error, JobCancelled):
            failure = self._failure(error)
            self._process.cache.put_many(dict.fromkeys(undone, failure))
            self._failed[failure.code] += len(undone)
        self._release(undone)
        self._count()
        self._ask_for_push()

    # ---- before the pictures

    def _plan(self, spec: LabelSpec) -> None:
        """Set up the work; what another carrier did or what needs no picture is done."""
        outcomes: Outcomes = {}
        tasks = self._carrier.tasks
        known = self._process.cache.get_many([task.key for task in tasks])
        for task, answer in zip(tasks, known, strict=True):
            if answer is not None:
                self._note(task.key, answer if isinstance(answer, Failed) else None)
                continue
            try:
                looks = looks_of(spec, task.data)
                films = found_in_films(self._process, self._carrier, task, spec, self._job)
            except (MediaError, LabelStudioError) as error:  # the latter: no token to fetch with
                outcomes[task.key] = Failed(error.code, str(error))
                continue
            found = dict(enumerate(films, len(looks)))
            work = _Work(task, looks, {one.address for one in looks}, found)
            if looks:
                self._works[task.key] = work
            else:
                outcomes[task.key] = self._finished(spec, work)
        self._store(outcomes)
        if done := [t.key for t, answer in zip(tasks, known, strict=True) if answer is not None]:
            self._release(done)
            if self._job is not None:
                self._process.connection.hset(self._job.key, "meta", self._progress(self._job))

    def _addresses(self) -> list[tuple[str, int | None]]:
        """Each address once, with the first task that names it, in the tasks' order."""
        first: dict[str, int | None] = {}
        for work in self._works.values():
            for one in work.looks:
                first.setdefault(one.address, work.task.id)
        return list(first.items())

    def _prepared(self, item: tuple[str, int | None]) -> Ready | BackendError:
        """Runs in a thread. A picture that cannot be had is a result like any other."""
        address, task_id = item
        backbone, learner = self._process.backbone, self._process.learner
        side_px = backbone.size_px
        if self._head is not None or self._eyes.reads_features:
            small = self._head is not None and self._head.small
            side_px = learner.decode_side_px(backbone, small)
        picture = fetch_picture(self._process, self._carrier.project_id, address, task_id, side_px)
        if isinstance(picture, BackendError):
            return picture
        return Ready(picture, prepare(picture, backbone.size_px))

    # ---- the pictures

    def _seen(self, batch: Mapping[str, Ready | BackendError]) -> dict[str, BackendError]:
        """Look at what can be had of a batch; why some of it had no room on the device."""
        ready = [(address, got) for address, got in batch.items() if isinstance(got, Ready)]
        left_out = self._process.room.use(ready, lambda part: self._look(dict(part)))
        return {address: no_room() for address, _ in left_out}

    def _look(self, ready: Mapping[str, Ready]) -> None:
        """Fill in what every task finds on these pictures, each seen once for all of them."""
        place = {address: index for index, address in enumerate(ready)}
        asked = [
            (work, position, one)
            for work in self._works.values()
            for position, one in enumerate(work.looks)
            if one.address in place
        ]
        questions = [(one, place[one.address]) for _, _, one in asked]
        pictures = [item.picture for item in ready.values()]
        features = self._features(pictures)
        learned = self._timed("head", lambda: self._learned(features))
        sight: Sight | None = None
        if needs_look(questions, learned):
            squares = [item.square_u8 for item in ready.values()]
            sight = self._timed(
                "forward", lambda: self._eyes.look(pictures, np.stack(squares), features)
            )
        settings = self._process.settings
        found = self._timed(
            "boxes", lambda: answer_looks(sight, pictures, questions, settings, learned)
        )
        if any(follows_thing(one.control.shape) for one, _ in questions):
            found = self._timed(
                "outlines",
                lambda: with_outlines(
                    self._process, self._head, pictures, features, questions, found
                ),
            )
        for (work, position, _), answer in zip(asked, found, strict=True):
            work.found[position] = answer
        self._batches += 1
        self._batch_sizes[size_class(len(ready))] += 1
        self._pictures += len(ready)

    def _features(self, pictures: Sequence[Picture]) -> list[Any] | None:
        """What the head reads of pictures; None where there is no head."""
        if self._head is None:
            return None
        process, small = self._process, self._head.small
        return process.learner.features_of(process.backbone, pictures, small=small, mirrored=False)

    def _learned(self, features: Sequence[Any] | None) -> LearnedAnswers | None:
        if self._head is None or features is None:
            return None
        return learned_answers(self._process.learner, self._head, features)

    def _settled(self, batch: Mapping[str, Ready | BackendError]) -> list[_Work]:
        """The tasks that wait for no picture after this batch, or in vain for one of it."""
        settled: list[_Work] = []
        for key, work in list(self._works.items()):
            seen = [batch[address] for address in batch if address in work.left]
            work.left.difference_update(batch)
            work.error = next((one for one in seen if isinstance(one, BackendError)), None)
            if work.error is not None or not work.left:
                settled.append(self._works.pop(key))
        return settled

    # ---- after each batch

    def _settle(self, spec: LabelSpec, works: Sequence[_Work], _seen: object) -> None:
        """Finish and store these. _seen: the batch, let go behind too, which takes time."""
        self._store({work.task.key: self._finished(spec, work) for work in works})

    def _finished(self, spec: LabelSpec, work: _Work) -> Predicted | Failed:
        if work.error is not None:
            return Failed(work.error.code, str(work.error))
        prediction = build_prediction(
            spec,
            [work.found[position] for position in sorted(work.found)],
            model_version=self._carrier.version,
            region_id_seed=work.task.key,
        )
        problems = check_prediction(prediction, spec, work.task.data)
        if not problems:
            return Predicted(prediction)
        shown = problems[:_PROBLEMS_SHOWN]
        log.error("prediction_invalid", task=work.task.id, problems=shown)
        return Failed("invalid_prediction", "; ".join(shown))

    def _store(self, outcomes: Outcomes) -> None:
        """Keep outcomes, give up their claims, tell progress, ask for a cancellation.

        One round trip: each waits for the threads that prepare pictures beside it.
        """
        if not outcomes:
            return
        cache, job = self._process.cache, self._job
        with self._process.connection.pipeline(transaction=False) as pipe:
            cache.put_many(outcomes, pipe)
            self._recent.note(self._carrier.project_id, self._named(outcomes), pipe)
            if job is not None:
                cache.release(list(outcomes), job.id, pipe)
                pipe.hset(job.key, "meta", self._progress(job, len(outcomes)))
                pipe.exists(keys.cancel_flag(job.id))
            *_, asked_to_stop = pipe.execute()
        self._cancelled = job is not None and bool(asked_to_stop)
        self._on_stored(outcomes)
        for key, outcome in outcomes.items():
            self._note(key, outcome if isinstance(outcome, Failed) else None)

    def _named(self, outcomes: Outcomes) -> dict[int, str]:
        """Cache key by task of what was predicted, where the task has a number."""
        return {
            task.id: task.key
            for task in self._carrier.tasks
            if task.id is not None and isinstance(outcomes.get(task.key), Predicted)
        }

    def _progress(self, job: Job, more: int = 0) -> bytes:
        """The job's meta data when so many more tasks are done."""
        job.meta["done"] = self._predicted + self._failed.total() + more
        return bytes(job.serializer.dumps(job.meta))

    def _note(self, key: str, failure: Failed | None) -> None:
        self._undone.discard(key)
        if failure is None:
            self._predicted += 1
        else:
            self._failed[failure.code] += 1
            self.failures[key] = failure

    def _stop_if_cancelled(self) -> None:
        if self._cancelled:
            raise JobCancelled(
                "The job was cancelled.", "What it had finished stays; ask again for the rest."
            )

    def _release(self, task_keys: Sequence[str]) -> None:
        if self._job is not None:
            self._process.cache.release(task_keys, self._job.id)

    def _failure(self, error: Exception) -> Failed:
        if isinstance(error, BackendError):
            return Failed(error.code, str(error))
        if isinstance(error, BaseTimeoutException):
            limit_s = self._process.settings.job_timeout_s
            return Failed("job_timeout", f"The job took longer than JOB_TIMEOUT={limit_s} seconds.")
        return Failed("job_failed", f"The job failed: {type(error).__name__} {error}".strip())

    def _count(self) -> None:
        self._process.counters.add_many(
            [*self.work_done(), *tasks_done(self._predicted, self._failed)]
        )

    def _ask_for_push(self) -> None:
        process, project_id = self._process, keys.project_id_of(self._carrier.project_id)
        if process.settings.can_push and project_id in process.deliveries.projects_with_pending():
            now_s = SharedClock(process.connection)()
            request_push(process.connection, process.settings, project_id, now_s)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        begun_s = time.perf_counter()
        result = work()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - begun_s
        return result


def tasks_done(predicted: int, failed: Mapping[str, int]) -> list[Count]:
    """What became of tasks, for the counters. failed: by code."""
    by_code = (("tasks_failed", {"code": code}, count) for code, count in failed.items())
    return [("tasks_predicted", {}, predicted), *by_code]

"""The job that predicts, alone or with like jobs that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import redis
import structlog
from rq import get_current_job
from rq.job import Job
from rq.timeouts import BaseTimeoutException

from backend.domain import Failed
from backend.errors import JobError
from backend.jobs.again import defer_lacking
from backend.jobs.carriage import Carriage, Outcomes, tasks_done
from backend.jobs.claims import CLAIM_TTL_S
from backend.jobs.parking import AGAIN, park_tasks, reason_of
from backend.jobs.payload import Carrier
from backend.jobs.process import Process, current
from backend.jobs.riders import SHARED_QUEUE, board
from backend.jobs.serving import spec_of
from backend.jobs.warming import warm
from backend.store import keys

__all__ = ["run", "warm"]

log = structlog.get_logger(__name__)

_RIDE_BATCHES = 2
"""Batches that jobs of one task share: one is fetched while the device works on the other."""


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Predict the tasks of a carrier; ``{"predicted": n, "failed": {code: n}}``.

    A task that cannot be done is no error of the job.
    Raises: JobError, BackboneMismatch, JobCancelled; whatever it raises is first left in
    the cache as the reason why the remaining tasks failed.
    """
    process, carrier, job = current(), Carrier.from_json(payload), get_current_job()
    carriage = Carriage(process, carrier, job)
    again = job is not None and AGAIN in job.meta
    try:
        if job is not None and again:
            _begin_again(process, carrier, job)
        if job is not None and job.origin == SHARED_QUEUE:
            _share(process, carrier, job)
        carriage.run()
    except Exception as error:
        # The edge of a job: time limits included, everything is noted and raised again.
        carriage.give_up(error)
        raise
    if again and carriage.failures:
        # Whoever asked for it finds the same job again, with what is left to do.
        raise JobError(reason_of(carriage.failures, len(carrier.tasks)), "")
    park_tasks(process.connection, process.settings, carrier, carriage.failures)
    return carriage.summary()


def _begin_again(process: Process, carrier: Carrier, job: Job) -> None:
    """Have the tasks of a job that failed done in earnest, and pushed where that can be.

    Raises: LabelStudioError where it cannot be asked what it has of them by now.
    """
    keys_of = [task.key for task in carrier.tasks]
    process.cache.forget_failures(keys_of)
    process.cache.claim(keys_of, job.id, CLAIM_TTL_S)
    project_id = keys.project_id_of(carrier.project_id)
    if process.label_studio is None or not project_id.isdecimal():
        return
    key_of = {task.id: task.key for task in carrier.tasks if task.id is not None}
    defer_lacking(process.connection, process.label_studio, project_id, carrier.version, key_of)


def _share(process: Process, carrier: Carrier, job: Job) -> None:
    """See a job's pictures together with those of like jobs that wait, and answer these.

    The job itself then finds its own answer in the cache. What goes wrong here goes wrong
    for nobody: each job is tried again alone.
    """
    most = _RIDE_BATCHES * process.settings.batch_pictures - len(carrier.tasks)
    if spec_of(process, carrier).films:
        return  # each takes long enough by itself, and its parts are shared
    silent_s = process.settings.worker_lost_s
    with board(process.connection, job, carrier, most=most, worker_lost_s=silent_s) as riders:
        if not riders.tasks:
            return
        answered: Outcomes = {}

        def answer(outcomes: Outcomes) -> None:
            job_of = riders.answer(outcomes)
            process.cache.release_each(job_of)
            answered.update((key, outcomes[key]) for key in job_of)

        together = replace(carrier, tasks=(*carrier.tasks, *riders.tasks))
        shared = Carriage(process, together, None, answer)
        try:
            shared.compute()
        except redis.RedisError:
            raise
        except Exception as error:
            log.exception("shared_batch_failed", riders=len(riders.tasks))
            riders.part()
            if isinstance(error, BaseTimeoutException):
                raise  # no time is left for the job itself
        failed = Counter(one.code for one in answered.values() if isinstance(one, Failed))
        predicted = len(answered) - failed.total()
        process.counters.add_many([*shared.work_done(), *tasks_done(predicted, failed)])
        for task in riders.tasks:
            if isinstance(outcome := answered.get(task.key), Failed):
                alone = replace(carrier, tasks=(task,))
                park_tasks(process.connection, process.settings, alone, {task.key: outcome})

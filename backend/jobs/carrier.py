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
from backend.jobs.carriage import Carriage, Outcomes, tasks_done
from backend.jobs.payload import Carrier
from backend.jobs.process import Process, current
from backend.jobs.riders import SHARED_QUEUE, board
from backend.jobs.warming import warm

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
    try:
        if job is not None and job.origin == SHARED_QUEUE:
            _share(process, carrier, job)
        carriage.run()
    except Exception as error:
        # The edge of a job: time limits included, everything is noted and raised again.
        carriage.give_up(error)
        raise
    return carriage.summary()


def _share(process: Process, carrier: Carrier, job: Job) -> None:
    """See a job's pictures together with those of like jobs that wait, and answer these.

    The job itself then finds its own answer in the cache. What goes wrong here goes wrong
    for nobody: each job is tried again alone.
    """
    most = _RIDE_BATCHES * process.settings.batch_pictures - len(carrier.tasks)
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

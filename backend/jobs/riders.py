"""Waiting jobs of one task each that share the batch of a job that has just begun.

When many annotators open tasks at once, the worker that begins one of their jobs takes
like ones out of the queue, so that their pictures are fetched together and seen in one
forward pass. Each is answered as a job of its own, the moment its prediction is in the
cache. With an empty queue nothing is taken and nothing waits.

While it rides, a job still counts as queued. Where its host ends without answering it,
however it ends, it goes back to the front of its queue; after a death, host and riders are
marked to go alone, so that a picture that kills workers costs its neighbours one try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis
import structlog
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

from backend.domain import Failed, Predicted
from backend.errors import JobError
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.queues import RESULT_TTL_S, SafeJob, queue
from backend.store import keys
from backend.store.fleet import Fleet

log = structlog.get_logger(__name__)

SHARED_QUEUE = "interactive"
"""The queue whose jobs carry one task each, for a person who waits."""

_ALONE = "alone"
"""Field of a job's record: it neither takes riders nor rides."""

_BETWEEN = "/"
"""Stands in no job's id."""

_TAKE = """
-- KEYS: queue, riders, record of the host. ARGV: host, prefix of job records, field of
-- those who go alone, then job ids. Returns the ids that are taken.
local taken = {}
if redis.call('HEXISTS', KEYS[3], ARGV[3]) == 1 then return taken end
for i = 4, #ARGV do
  if redis.call('HEXISTS', ARGV[2] .. ARGV[i], ARGV[3]) == 0
      and redis.call('LREM', KEYS[1], 1, ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[1])
    taken[#taken + 1] = ARGV[i]
  end
end
return taken
"""

_PUT_BACK = """
-- KEYS: queue, riders, record of the host. ARGV: host, prefix of job records, field to mark
-- or '', then job ids. Returns the ids that are put back; one that was cancelled on the way
-- is only let go.
local back = {}
for i = #ARGV, 4, -1 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[1] then
    redis.call('HDEL', KEYS[2], ARGV[i])
    local record = ARGV[2] .. ARGV[i]
    if redis.call('HGET', record, 'status') == 'queued' then
      if ARGV[3] ~= '' then redis.call('HSET', record, ARGV[3], 1) end
      redis.call('LPUSH', KEYS[1], ARGV[i])
      back[#back + 1] = ARGV[i]
    end
  end
end
if ARGV[3] ~= '' and #back > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('HSET', KEYS[3], ARGV[3], 1)
end
return back
"""


class Riders:
    """The jobs that ride with one host job. A context manager: leaving it puts back the rest.

    tasks: what they are to do.
    """

    def __init__(
        self, connection: redis.Redis, host: Job, jobs: Sequence[Job], carriers: Sequence[Carrier]
    ) -> None:
        self._redis = connection
        self._host = _host_of(host)
        self._worker_name = host.worker_name or ""
        self._jobs = {job.id: job for job in jobs}
        self._job_of = {
            carrier.tasks[0].key: job.id for job, carrier in zip(jobs, carriers, strict=True)
        }
        self.tasks: tuple[CarrierTask, ...] = tuple(one.tasks[0] for one in carriers)

    def __enter__(self) -> Riders:
        return self

    def __exit__(self, *_error: object) -> None:
        self._put_back(alone=False)

    def part(self) -> None:
        """Put back who is left; each goes alone from now on, for something went wrong."""
        self._put_back(alone=True)

    def answer(self, outcomes: Mapping[str, Predicted | Failed]) -> dict[str, str]:
        """End the jobs of these outcomes, by task key, which lie in the cache already.

        Returns job id by task key of those that have ended; one that was cancelled
        meanwhile stays cancelled. Three round trips.
        """
        ended = {self._job_of[key]: key for key in outcomes if self._job_of.get(key) in self._jobs}
        if not ended:
            return {}
        jobs = [self._jobs[job_id] for job_id in ended]
        with self._redis.pipeline() as pipe:
            pipe.watch(*(job.key for job in jobs))  # type: ignore[no-untyped-call]
            own = self._still_waiting(jobs)
            pipe.multi()
            for job in own:
                _end(job, outcomes[ended[job.id]], self._worker_name, pipe)
            pipe.hdel(keys.riders(), *ended)
            try:
                pipe.execute()
            except redis.WatchError:
                return {}  # one was changed by another; all go back and find the cache
        for job in jobs:
            del self._jobs[job.id]
        return {ended[job.id]: job.id for job in own}

    def _still_waiting(self, jobs: Sequence[Job]) -> list[Job]:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.riders(), [job.id for job in jobs])
            for job in jobs:
                pipe.hget(job.key, "status")
            hosts, *states = pipe.execute()
        own = self._host.encode()
        return [
            job
            for job, host, state in zip(jobs, hosts, states, strict=True)
            if host == own and state == b"queued"
        ]

    def _put_back(self, *, alone: bool) -> None:
        if self._jobs:
            _put_back(self._redis, self._host, list(self._jobs), alone=alone)
            self._jobs.clear()


def board(
    connection: redis.Redis, host: Job, carrier: Carrier, *, most: int, worker_lost_s: float
) -> Riders:
    """Take jobs like the host's out of its queue, at most so many; maybe none.

    carrier: the host's. worker_lost_s: silence after which a worker gets no share of those
    who wait. One round trip where nobody waits, else five.
    """
    own_queue = queue(connection, SHARED_QUEUE)
    waiting = own_queue.count if most > 0 else 0
    jobs: list[Job] = []
    carriers: list[Carrier] = []
    if waiting:
        workers = Fleet(connection).alive(worker_lost_s, "predict")
        ready = sum(worker.state == "ready" for worker in workers)
        wanted = own_queue.get_job_ids(0, fair_share(waiting, ready, most))
        found = SafeJob.fetch_many(wanted, connection=connection, serializer=JSONSerializer)
        like = list(_like(carrier, host, found))
        if like:
            take = connection.register_script(_TAKE)
            arguments = [_host_of(host), Job.redis_job_namespace_prefix, _ALONE]
            places = [own_queue.key, keys.riders(), host.key]
            taken: Any = take(keys=places, args=[*arguments, *(job.id for job, _ in like)])
            names = {name.decode() for name in taken}
            jobs = [job for job, _ in like if job.id in names]
            carriers = [other for job, other in like if job.id in names]
    return Riders(connection, host, jobs, carriers)


def fair_share(waiting: int, ready_workers: int, most: int) -> int:
    """How many of those who wait one worker takes beside its own job: one at least."""
    return max(1, min(most, -(-(waiting + 1) // max(ready_workers, 1)) - 1))


def put_back_stranded(connection: redis.Redis) -> list[str]:
    """Queue the riders whose host runs no longer; returns their ids. One round trip if none."""
    riding: Any = connection.hgetall(keys.riders())
    riders_of: dict[str, list[str]] = {}
    for job_id, host in riding.items():
        riders_of.setdefault(host.decode(), []).append(job_id.decode())
    back: list[str] = []
    for host, job_ids in riders_of.items():
        worker_name, host_id = host.rsplit(_BETWEEN, 1)
        found: Any = connection.hmget(Job.key_for(host_id), "status", "worker_name")
        if found != [b"started", worker_name.encode()]:
            back += _put_back(connection, host, job_ids, alone=True)
    if back:
        log.warning("riders_queued_again", jobs=back)
    return back


def _like(
    carrier: Carrier, host: Job, found: Iterable[Job | None]
) -> Iterable[tuple[Job, Carrier]]:
    """The jobs that one batch can do beside the host's, each task once."""
    plan = replace(carrier, tasks=())
    seen = {task.key for task in carrier.tasks}
    for job in found:
        if job is None:
            continue
        try:
            if job.func_name != host.func_name:
                continue
            other = Carrier.from_json(job.args[0])
        except (DeserializationError, JobError):
            continue  # fails by itself when its turn comes
        if len(other.tasks) == 1 and replace(other, tasks=()) == plan:
            (task,) = other.tasks
            if task.key not in seen:
                seen.add(task.key)
                yield job, other


def _end(job: Job, outcome: Predicted | Failed, worker_name: str, pipe: Any) -> None:
    """What RQ's worker does when a job ends well, as far as ours have any of it."""
    failed = {outcome.code: 1} if isinstance(outcome, Failed) else {}
    job.worker_name = worker_name
    job.ended_at = now()
    job.meta["done"] = 1
    job._result = {"predicted": 0 if failed else 1, "failed": failed}
    pipe.hset(job.key, "meta", JSONSerializer.dumps(job.meta))  # type: ignore[no-untyped-call]
    job._handle_success(RESULT_TTL_S, pipeline=pipe, worker_name=worker_name)
    job.cleanup(RESULT_TTL_S, pipeline=pipe, remove_from_queue=False)


def _put_back(
    connection: redis.Redis, host: str, job_ids: Sequence[str], *, alone: bool
) -> list[str]:
    put_back = connection.register_script(_PUT_BACK)
    host_key = Job.key_for(host.rsplit(_BETWEEN, 1)[1])
    places = [queue(connection, SHARED_QUEUE).key, keys.riders(), host_key]
    mark = _ALONE if alone else ""
    back: Any = put_back(keys=places, args=[host, Job.redis_job_namespace_prefix, mark, *job_ids])
    return [job_id.decode() for job_id in back]


def _host_of(job: Job) -> str:
    return f"{job.worker_name}{_BETWEEN}{job.id}"

"""Waiting jobs of one task share the batch of the one that has begun, on a real Redis."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.domain import Predicted
from backend.jobs import carriage
from backend.jobs.enqueue import Ticket
from backend.jobs.payload import Carrier
from backend.jobs.process import current
from backend.jobs.queues import SafeJob, queue
from backend.jobs.recovery import misplaced_jobs, requeue_of_dead
from backend.jobs.riders import Riders, board, fair_share, put_back_stranded
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.store import keys
from backend.store.counters import Counters
from backend.store.fleet import Fleet, WorkerInfo
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road
from tests.jobs.processes import environment, ticking

OTHER = RECTANGLES.replace("Thing", "Other")


def opened(road: Road, addresses: Sequence[str], label_config: str = RECTANGLES) -> list[Ticket]:
    """One call for each picture, as annotators open tasks."""
    return [
        road.dispatcher.begin(
            road.call(
                [address], first_id=number, label_config=label_config, queue_name="interactive"
            )
        )
        for number, address in enumerate(addresses, 1)
    ]


def replied(road: Road, tickets: Sequence[Ticket]) -> list[Any]:
    """What each call is answered, once its job has ended."""
    replies = []
    for ticket in tickets:
        road.dispatcher.wait_blocking(ticket, 120.0)
        assert ticket.watch.over
        replies += road.dispatcher.finish(ticket)
    return [None if reply is None else json.loads(reply) for reply in replies]


def fetched(road: Road, job_id: str) -> Any:
    return SafeJob.fetch(job_id, connection=road.connection, serializer=JSONSerializer)


def begun(road: Road, worker: str = "w") -> Job:
    """The first job of the queue, as a worker of this name has begun it."""
    job_id = road.connection.lpop("rq:queue:interactive")
    assert isinstance(job_id, bytes)
    job: Job = fetched(road, job_id.decode())
    with road.connection.pipeline() as pipe:
        job.prepare_for_execution(worker, pipe)
        pipe.execute()
    return job


def aboard(road: Road, host: Job, most: int = 15) -> Riders:
    """Those who ride with it."""
    return board(
        road.connection, host, Carrier.from_json(host.args[0]), most=most, worker_lost_s=5.0
    )


def waiting(road: Road) -> list[str]:
    return queue(road.connection, "interactive").get_job_ids()


@pytest.mark.parametrize(
    ("waits", "workers", "most", "expected"),
    [
        pytest.param(1, 1, 15, 1, id="one"),
        pytest.param(49, 1, 15, 15, id="no more than fit"),
        pytest.param(9, 2, 15, 4, id="half for the other worker"),
        pytest.param(3, 9, 15, 1, id="more workers than jobs"),
        pytest.param(3, 0, 15, 3, id="no worker has told yet"),
    ],
)
def test_workers_share_those_who_wait(waits: int, workers: int, most: int, expected: int) -> None:
    assert fair_share(waits, workers, most) == expected


def test_many_calls_share_batches_and_each_gets_its_own_answer(road: Road) -> None:
    addresses = road.pictures.add(7)
    apart = [road.predict(road.call([one], first_id=None)) for one in addresses]
    road.connection.flushall()
    before = Counters(road.connection).read()
    assert before == {}

    tickets = opened(road, addresses)
    road.work()
    replies = replied(road, tickets)

    counted = Counters(road.connection).read()
    assert counted["batches", ()] <= 3
    assert counted["pictures", ()] == 7
    assert counted["tasks_predicted", ()] == 7
    for reply, (alone,) in zip(replies, apart, strict=True):
        one = json.loads(alone or b"")
        assert reply["score"] == pytest.approx(one["score"], abs=1e-3)
        assert len(reply["result"]) == len(one["result"]) > 0
    assert road.waiting() == 0
    assert road.connection.hgetall(keys.riders()) == {}
    assert all(count == 2 for count in road.pictures.asked.values()), "apart, then together"


def test_each_job_ends_as_if_it_had_run_alone(road: Road) -> None:
    tickets = opened(road, road.pictures.add(3))
    road.work()
    shown = []
    for ticket in tickets:
        (job_id,) = ticket.own_jobs
        view = road.dispatcher.job(job_id)
        job = fetched(road, job_id)
        assert [result.type.value for result in job.results()] == [1]
        assert 0 < road.connection.ttl(job.key) <= 300
        assert job.ended_at is not None
        shown.append((view.state, dict(view.progress), view.outcome))
    assert shown == [("done", {"done": 1, "total": 1}, {"predicted": 1, "failed": {}})] * 3
    finished = queue(road.connection, "interactive").finished_job_registry
    assert set(finished.get_job_ids()) == {ticket.own_jobs[0] for ticket in tickets}
    assert current().cache.owners([ticket.keys[0] or "" for ticket in tickets]) == [None] * 3


def test_a_bad_picture_fails_its_own_job_only(road: Road) -> None:
    good = road.pictures.add(2)
    tickets = opened(road, [good[0], f"{road.pictures.url}/missing.png", good[1]])
    road.work()
    replies = replied(road, tickets)
    assert [reply is not None for reply in replies] == [True, False, True]
    view = road.dispatcher.job(tickets[1].own_jobs[0])
    assert view.outcome == {"predicted": 0, "failed": {"media_missing": 1}}
    counted = Counters(road.connection).read()
    assert counted["tasks_predicted", ()] == 2
    assert counted["tasks_failed", (("code", "media_missing"),)] == 1


def test_a_lone_job_and_other_queues_take_nobody(road: Road) -> None:
    opened(road, road.pictures.add(1))
    road.dispatcher.begin(road.call(road.pictures.add(2, first=10), queue_name="bulk"))
    with aboard(road, begun(road)) as riders:
        assert riders.tasks == ()
    assert road.waiting("bulk") == 1


def test_only_like_jobs_ride(road: Road) -> None:
    opened(road, road.pictures.add(1))
    other = opened(road, road.pictures.add(1), label_config=OTHER)
    like = opened(road, road.pictures.add(1, first=5))
    queue(road.connection, "interactive").enqueue_call("backend.jobs.explain.run", args=({},))
    with aboard(road, begun(road)) as riders:
        assert [task.data for task in riders.tasks] == [like[0].call.tasks[0].data]
        assert other[0].own_jobs[0] in waiting(road)
        assert len(waiting(road)) == 2


def test_who_is_not_answered_goes_back_in_order(road: Road) -> None:
    ids = [ticket.own_jobs[0] for ticket in opened(road, road.pictures.add(5))]
    with aboard(road, begun(road), most=3) as riders:
        assert len(riders.tasks) == 3
        assert waiting(road) == ids[4:]
        assert misplaced_jobs(road.connection) == {}, "who rides is not lost"
    assert waiting(road) == ids[1:]
    assert road.connection.hgetall(keys.riders()) == {}


def test_who_was_cancelled_on_the_way_stays_cancelled(road: Road) -> None:
    tickets = opened(road, road.pictures.add(3))
    cancelled, gone_on = tickets[1].own_jobs[0], tickets[2].own_jobs[0]
    with aboard(road, begun(road)) as riders:
        assert road.dispatcher.cancel(cancelled).state == "cancelled"
        outcomes: Any = {task.key: Predicted({"result": []}) for task in riders.tasks}
        assert list(riders.answer(outcomes).values()) == [gone_on]
        assert riders.answer(outcomes) == {}, "once"
    assert road.dispatcher.job(cancelled).state == "cancelled"
    assert road.dispatcher.job(gone_on).state == "done"
    assert waiting(road) == []


def test_who_was_cancelled_is_not_queued_again(road: Road) -> None:
    tickets = opened(road, road.pictures.add(3))
    with aboard(road, begun(road)):
        road.dispatcher.cancel(tickets[1].own_jobs[0])
    assert waiting(road) == tickets[2].own_jobs


def test_a_batch_that_fails_is_done_again_one_by_one(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = opened(road, road.pictures.add(3))
    sizes: list[int] = []
    look = carriage.Carriage._look

    def fails_together(self: Any, ready: Any) -> None:
        sizes.append(len(ready))
        if len(ready) > 1:
            raise RuntimeError("out of memory")
        look(self, ready)

    monkeypatch.setattr(carriage.Carriage, "_look", fails_together)
    road.work()
    assert all(replied(road, tickets))
    assert sizes[0] > 1
    assert sizes[1:] == [1, 1, 1]


@pytest.mark.slow
def test_a_host_that_ran_out_of_time_leaves_its_riders_in_the_queue(make_road: MakeRoad) -> None:
    road = make_road(job_timeout_s=2, media_timeout_s=9.0)
    addresses = road.pictures.add(3)
    road.pictures.on_get = lambda path: time.sleep(4.5 if path == "/1.png" else 0.0)
    tickets = opened(road, addresses)
    road.work()
    states = [road.dispatcher.job(ticket.own_jobs[0]).state for ticket in tickets]
    assert states[2] == "done"
    assert "done" not in states[:2]
    assert road.connection.hgetall(keys.riders()) == {}


def test_riders_of_a_dead_worker_go_back_and_go_alone(road: Road) -> None:
    Fleet(road.connection).beat(WorkerInfo("dead", "h", 1, "cpu", "", "ready"))
    tickets = opened(road, road.pictures.add(3))
    ids = [ticket.own_jobs[0] for ticket in tickets]
    host = begun(road, "dead")
    riders = aboard(road, host)  # and the worker dies
    assert len(riders.tasks) == 2
    assert put_back_stranded(road.connection) == [], "its host still runs"
    host.set_status("failed")  # type: ignore[arg-type]
    requeue_of_dead(road.connection, "dead", why="x")
    assert waiting(road) == ids[1:]
    assert put_back_stranded(road.connection) == []
    with aboard(road, begun(road)) as again:
        assert again.tasks == (), "whatever killed the worker is one of them"
    assert riders.answer({task.key: Predicted({}) for task in riders.tasks}) == {}, "too late"


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_done_twice(
    road: Road,
) -> None:
    """A real worker process is killed -9 while it fetches the pictures of a shared batch."""
    held: list[str] = []

    def hold(path: str) -> None:
        held.append(path)
        if len(held) <= 4:
            time.sleep(3.0)

    road.pictures.on_get = hold
    tickets = opened(road, road.pictures.add(6))
    ids = [ticket.own_jobs[0] for ticket in tickets]
    supervisor = Supervisor(
        road.settings,
        road.connection,
        [Slot(0, "cpu", 1)],
        environment(road.settings),
        command=lambda slot, name: [sys.executable, "-m", "tests.jobs.carrier_process", name],
        stop_grace_s=3.0,
    )
    supervisor.start()
    try:
        ticking(supervisor, lambda: road.connection.hlen(keys.riders()) == 5 and held, 60)
        assert waiting(road) == []
        os.kill(supervisor.pids[0], signal.SIGKILL)
        ticking(supervisor, lambda: len(waiting(road)) == 6, 5)
        assert waiting(road) == [*ids[1:], ids[0]]
        assert road.connection.hlen(keys.riders()) == 0
        jobs = [fetched(road, job_id) for job_id in ids]
        ticking(supervisor, lambda: all(job.is_finished for job in jobs), 60)
    finally:
        supervisor.stop()
    assert all(replied(road, tickets))
    for job in jobs:
        assert [result.type.value for result in job.results()] == [1]
    counted = Counters(road.connection).read()
    assert counted["tasks_predicted", ()] == 6
    assert counted["batches", ()] == 6, "after a death each goes alone"
    assert waiting(road) == []

"""Clocks that are set, and machines whose clocks differ by an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import SimpleWorker, registry
from rq.job import JobStatus
from rq.utils import utcformat

from backend.jobs import supervisor as supervising
from backend.jobs.queues import enqueue, queue
from backend.jobs.worker import SlotWorker
from backend.settings import Settings
from backend.store import keys
from backend.store.deliveries import Deliveries
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.moved_clock import MOVED_S
from tests.jobs.processes import SAMPLE, supervised, ticking
from tests.jobs.test_recovery import begun
from tests.jobs.whole_backend import WholeBackend, answered
from tests.labelstudio_standin import LabelStudioStandin

HOUR_S = 3600.0

SettingsOf = Callable[..., Settings]
Until = Callable[..., None]


@contextmanager
def set_by(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's wall clock, set by so much; others do not notice."""
    right = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + seconds)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["ahead", "back"])
def test_a_clock_that_is_set_ends_no_job_and_no_worker(
    connection: redis.Redis,
    settings: SettingsOf,
    monkeypatch: pytest.MonkeyPatch,
    by_s: float,
) -> None:
    monkeypatch.setattr(supervising, "_LOOK_AROUND_S", 0.1)
    own = settings(job_timeout_s=30, heartbeat_s=0.1, worker_lost_s=5.0)
    looks: list[float] = []
    with supervised(own, connection, hang_grace_s=0.0) as supervisor:
        give_up = supervisor._give_up_silent

        def counted(now_s: float) -> None:
            give_up(now_s)
            looks.append(now_s)

        monkeypatch.setattr(supervisor, "_give_up_silent", counted)
        pids = supervisor.pids
        job: Any = enqueue(
            connection, "predict", f"{SAMPLE}.hold", "go", settings=own, description=""
        )
        ticking(supervisor, lambda: job.get_status() == JobStatus.STARTED)
        # The worker began it before the clock was set, and was heard before.
        began = datetime.now(timezone.utc) - timedelta(seconds=by_s)
        connection.hset(job.key, "started_at", utcformat(began))
        for name, _ in connection.zscan_iter(keys.fleet_beats()):
            connection.zincrby(keys.fleet_beats(), -by_s, name)
        ticking(supervisor, lambda: len(looks) >= 10)
        assert supervisor.pids == pids
        connection.set("go", "1")
        ticking(supervisor, lambda: job.is_finished)
        assert [result.type.value for result in job.results()] == [1]


def test_a_machine_whose_clock_is_ahead_takes_nothing_out_of_others_hands(
    connection: redis.Redis, settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(connection, settings(), "at-work")
    monkeypatch.setattr(registry, "current_timestamp", lambda: int(time.time() + HOUR_S))
    worker = SlotWorker(connection, "ahead", on_job_done=lambda: None)
    worker.clean_registries()
    assert job.get_status() == JobStatus.STARTED
    assert queue(connection, "predict").count == 0
    # What RQ itself would do with it, so that the above is worth something.
    SimpleWorker.clean_registries(worker)  # type: ignore[no-untyped-call]
    assert job.get_status() == JobStatus.QUEUED


def test_old_results_are_forgotten_all_the_same(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    done = queue(connection, "predict").finished_job_registry
    connection.zadd(done.key, {"long ago": 1.0})
    SlotWorker(connection, "w", on_job_done=lambda: None).clean_registries()
    assert connection.zcard(done.key) == 0
    assert not connection.exists(f"rq:clean_registries:{done.name}")


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["ahead", "behind"])
def test_a_pusher_whose_clock_differs_brings_each_prediction_once(
    keyed_road: Road,
    label_studio: LabelStudioStandin,
    monkeypatch: pytest.MonkeyPatch,
    by_s: float,
) -> None:
    road = keyed_road
    addresses = road.pictures.add(3)
    ids = label_studio.add_tasks([{"image": address} for address in addresses])
    call = road.call(addresses, first_id=ids[0])
    road.dispatcher.defer_all(road.dispatcher.begin(call))
    on_its_way = road.dispatcher.begin(call)
    with set_by(by_s, monkeypatch):
        road.work()
    assert sorted(label_studio.stored()) == ids
    assert road.dispatcher.finish(on_its_way) == [None] * 3, "Label Studio would store both"
    assert Deliveries(road.connection).projects_with_pending() == []
    # Deleted there and asked for again, with no word to us.
    monkeypatch.setattr("backend.store.deliveries.SEEN_AFTER_S", -1.0)
    again = road.dispatcher.begin(call)
    time.sleep(0.01)
    assert None not in road.dispatcher.finish(again)


@pytest.mark.slow
def test_two_machines_an_hour_apart_work_together(
    tmp_path: Path, pictures: PictureServer, until: Until
) -> None:
    calls = [pictures.add(8, first=20 * number) for number in range(3)]
    pictures.on_get = lambda path: time.sleep(0.2)
    with WholeBackend(tmp_path, until, worker_lost_s=4.0, batch_pictures=2) as whole:
        url = whole.server()
        whole.machine(1)
        first = whole.ask(url, calls[0])
        until(lambda: whole.running())
        whole.machine(
            1, environment={MOVED_S: str(HOUR_S)}
        )  # and it looks after what seems abandoned
        workers = whole.ready()
        replies = [first, *(whole.ask(url, addresses) for addresses in calls[1:])]
        results = [entry for reply in replies for entry in answered(reply)]
        assert all(entry["result"] for entry in results)
        assert len(results) == whole.counted("tasks_predicted") == 24
        assert whole.ready() == workers
    assert set(pictures.asked.values()) == {1}

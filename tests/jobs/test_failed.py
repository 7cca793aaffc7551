"""Failed jobs: shown with their reason, tried again, gone once done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from rq.job import Job

from backend.domain import Failed
from backend.jobs.carriage import Carriage
from backend.jobs.failed import failed_jobs, retry_failed
from backend.jobs.parking import forget_failed_trainings, park_training, reason_of
from backend.jobs.queues import enqueue, queue
from backend.jobs.recovery import requeue_of_dead
from backend.jobs.training import request_due_trainings, request_training
from backend.settings import Settings
from backend.store import keys
from backend.store.deliveries import Deliveries
from backend.store.predictions import PredictionCache
from tests.jobs.conftest import MakeRoad, Road
from tests.jobs.test_recovery import begun
from tests.labelstudio_standin import LabelStudioStandin

SettingsOf = Callable[..., Settings]


def broken(road: Road, count: int, *which: int) -> list[str]:
    """Addresses of pictures, some of which are not there for now."""
    addresses = road.pictures.add(count)
    for index in which:
        del road.pictures.pictures[f"/{index}.png"]
    return addresses


def put_earlier(connection: redis.Redis, queue_name: str, job_id: str, by_s: float) -> None:
    """As if it had failed so much earlier; RQ tells whole seconds."""
    connection.zincrby(queue(connection, queue_name).failed_job_registry.key, -by_s, job_id)


def mend(road: Road, *which: int) -> None:
    road.pictures.add(1 + max(which))


def test_failed_tasks_of_a_carrier_are_shown_and_predicted_when_tried_again(road: Road) -> None:
    call = road.call(broken(road, 4, 1, 3))
    found = road.predict(call)
    assert [reply is not None for reply in found] == [True, False, True, False]
    (failed,) = failed_jobs(road.connection)
    assert (failed.kind, failed.queue, failed.project_id) == ("predict", "bulk", "1")
    assert (failed.tasks, failed.task_ids, failed.refused) == (2, (2, 4), False)
    assert failed.reason.startswith("2 of 4 tasks failed. media_")
    assert "/1.png" in failed.reason
    assert abs(failed.failed_at_s - time.time()) < 60
    mend(road, 1, 3)
    assert road.predict(call)[1] is None, "the failure is remembered"
    assert retry_failed(road.connection, failed.id)
    assert not retry_failed(road.connection, failed.id), "it waits already"
    road.work()
    assert failed_jobs(road.connection) == []
    asked = sum(road.pictures.asked.values())
    assert all(road.predict(call))
    assert sum(road.pictures.asked.values()) == asked, "all of it came from the cache"


def test_a_retry_that_fails_leaves_the_same_job_with_what_is_left(road: Road) -> None:
    road.predict(road.call(broken(road, 3, 0, 2)))
    (before,) = failed_jobs(road.connection)
    mend(road, 0)
    retry_failed(road.connection, before.id)
    road.work()
    (after,) = failed_jobs(road.connection)
    assert (after.id, after.task_ids) == (before.id, (3,))
    assert "1 of 2 tasks failed. media_" in after.reason


def test_the_same_failure_asked_for_again_is_shown_once(make_road: MakeRoad) -> None:
    road = make_road(failure_cache_ttl_s=1)
    addresses = broken(road, 3, 0, 1, 2)
    road.predict(road.call(addresses[:2]))
    (first,) = failed_jobs(road.connection)
    put_earlier(road.connection, "bulk", first.id, 5)
    road.connection.delete(*road.connection.keys(keys.prediction("*")))
    road.predict(road.call(addresses))
    shown = failed_jobs(road.connection)
    assert [one.task_ids for one in shown] == [(1, 2, 3)], "each task with its newest job"
    road.connection.delete(*road.connection.keys(keys.prediction("*")))
    road.predict(road.call(addresses))
    assert [one.id for one in failed_jobs(road.connection)] == [shown[0].id]


def test_failed_tasks_of_riders_are_shown_too(road: Road) -> None:
    for number, address in enumerate(broken(road, 3, 1, 2), 1):
        call = road.call([address], first_id=number, queue_name="interactive")
        road.dispatcher.begin(call)
    road.work()
    assert sorted(one.task_ids for one in failed_jobs(road.connection)) == [(2,), (3,)]


def test_a_carrier_that_raised_is_tried_again_in_earnest(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: Any) -> None:
        raise ValueError("a defect")

    call = road.call(road.pictures.add(2))
    with monkeypatch.context() as patched:
        patched.setattr(Carriage, "compute", defect)
        assert road.predict(call) == [None, None]
    (failed,) = failed_jobs(road.connection)
    assert (failed.queue, failed.tasks, failed.reason) == ("predict", 2, "a defect")
    retry_failed(road.connection, failed.id)
    assert queue(road.connection, "bulk").get_job_ids() == [failed.id]
    road.work()
    assert failed_jobs(road.connection) == []
    assert all(road.predict(call))


def test_a_job_that_redis_refused_for_a_moment_is_done_again_at_once(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = PredictionCache.put_many
    refused: list[int] = []

    def once_refused(cache: PredictionCache, *arguments: Any) -> None:
        if not refused:
            refused.append(1)
            raise redis.ResponseError("MISCONF Errors writing to the AOF file: No space left")
        put(cache, *arguments)

    monkeypatch.setattr(PredictionCache, "put_many", once_refused)
    assert all(road.predict(road.call(road.pictures.add(3))))
    assert refused
    assert failed_jobs(road.connection) == []


def test_what_is_tried_again_is_pushed_once(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    road = keyed_road
    ids = label_studio.add_tasks([{"image": one} for one in broken(road, 3, 0, 1, 2)])
    call = road.call_of([label_studio.tasks[number]["data"] for number in ids])
    ticket = road.dispatcher.begin(call)
    assert road.dispatcher.finish(ticket) == [None] * 3
    road.work()
    assert label_studio.stored() == []
    assert Deliveries(road.connection).projects_with_pending() == []
    (failed,) = failed_jobs(road.connection)
    mend(road, 2)
    label_studio.store(ids[0], {"model_version": ticket.version})  # came there another way
    retry_failed(road.connection, failed.id)
    road.work()
    assert sorted(label_studio.stored(ticket.version)) == ids
    assert failed_jobs(road.connection) == []


def test_a_retry_without_label_studio_fails_with_that_reason(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    road = keyed_road
    ids = label_studio.add_tasks([{"image": one} for one in broken(road, 1, 0)])
    road.predict(road.call_of([label_studio.tasks[number]["data"] for number in ids]))
    (failed,) = failed_jobs(road.connection)
    mend(road, 0)
    label_studio.stop()
    retry_failed(road.connection, failed.id)
    road.work()
    (again,) = failed_jobs(road.connection)
    assert again.id == failed.id
    assert "Label Studio" in again.reason
    label_studio.start()
    retry_failed(road.connection, failed.id)
    road.work()
    assert label_studio.stored() == ids


def test_predictions_that_label_studio_does_not_take_are_pushed_when_tried_again(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    road = keyed_road
    ids = label_studio.add_tasks([{"image": one} for one in road.pictures.add(3)])
    call = road.call_of([label_studio.tasks[number]["data"] for number in ids])
    label_studio.refused_labels.add("Thing")
    ticket = road.dispatcher.begin(call)
    road.dispatcher.finish(ticket)
    road.work()
    assert label_studio.stored() == []
    (failed,) = failed_jobs(road.connection)
    assert (failed.kind, failed.queue, failed.project_id) == ("push", "push", "1")
    assert (failed.tasks, sorted(failed.task_ids)) == (3, ids)
    assert "validator" in failed.reason
    asked = road.pictures.asked.total()
    retry_failed(road.connection, failed.id)
    road.work()
    assert [one.id for one in failed_jobs(road.connection)] == [failed.id], "refused again"
    label_studio.refused_labels.clear()
    label_studio.store(ids[0], {"model_version": ticket.version})  # came there another way
    assert retry_failed(road.connection, failed.id)
    road.work()
    assert sorted(label_studio.stored(ticket.version)) == ids
    assert failed_jobs(road.connection) == []
    assert road.pictures.asked.total() == asked, "nothing was predicted again"


def test_a_cancelled_job_has_not_failed(road: Road) -> None:
    ticket = road.dispatcher.begin(road.call(road.pictures.add(1)))
    (job_id,) = ticket.own_jobs
    road.connection.set(keys.cancel_flag(job_id), b"1")
    road.work()
    assert road.dispatcher.job(job_id).state == "cancelled"
    assert failed_jobs(road.connection) == []


def test_a_job_whose_worker_always_dies_is_shown_and_survives_a_stop_when_retried(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    job = begun(connection, settings(job_retries=0), "dead")
    requeue_of_dead(connection, "dead", why="its worker died (status -9)")
    (failed,) = failed_jobs(connection)
    assert (failed.id, failed.queue, failed.kind) == (job.id, "predict", "")
    assert failed.reason == "its worker died (status -9)"
    assert retry_failed(connection, job.id)
    assert queue(connection, "predict").get_job_ids() == [job.id]
    assert Job.fetch(job.id, connection=connection).retries_left == 1


def test_an_unknown_job_is_not_tried_again(connection: redis.Redis, settings: SettingsOf) -> None:
    assert failed_jobs(connection) == []
    assert not retry_failed(connection, "nothing")
    job = enqueue(
        connection, "push", "backend.jobs.push.run", {}, settings=settings(), description=""
    )
    assert not retry_failed(connection, job.id)
    assert queue(connection, "push").get_job_ids() == [job.id]


def test_what_nobody_can_read_is_listed_all_the_same(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    job = begun(connection, settings(job_retries=0), "dead")
    requeue_of_dead(connection, "dead", why="died")
    connection.hset(job.key, "data", b"no JSON")
    assert [(one.id, one.kind) for one in failed_jobs(connection)] == [(job.id, "")]


def test_the_newest_come_first_and_no_more_than_asked_for(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    for project_id, earlier_s in (("1", 20), ("2", 0), ("3", 10)):
        park_training(connection, settings(), project_id, {"project_id": project_id}, "why")
        put_earlier(connection, "train", f"refused-{project_id}", earlier_s)
    assert [one.project_id for one in failed_jobs(connection, 2)] == ["2", "3"]


def test_a_refused_training_tells_why_until_another_has_ended(road: Road) -> None:
    connection, settings = road.connection, road.settings
    road.dispatcher.begin(road.call(road.pictures.add(1)))
    request_training(connection, settings, "1", time.time(), asked=True)
    road.work("train")
    (refused,) = failed_jobs(connection)
    assert (refused.kind, refused.refused, refused.project_id) == ("train", True, "1")
    assert refused.reason
    assert retry_failed(connection, refused.id)
    assert failed_jobs(connection) == []
    assert list(request_due_trainings(connection, settings, time.time())) == ["1"]
    road.work("train")
    assert [one.refused for one in failed_jobs(connection)] == [True]
    forget_failed_trainings(connection, "2")
    assert len(failed_jobs(connection)) == 1
    forget_failed_trainings(connection, "1")
    assert failed_jobs(connection) == []


def test_reasons_name_the_commonest_code_first() -> None:
    failures = {
        "a": Failed("one", "first\nline"),
        "b": Failed("two", "second"),
        "c": Failed("two", "third"),
    }
    assert reason_of(failures, 5) == ("3 of 5 tasks failed. two (2): second one (1): first line")


def test_a_carrier_of_another_release_is_listed(road: Road) -> None:
    job = enqueue(
        road.connection,
        "predict",
        "backend.jobs.carrier.run",
        {"schema": 99},
        settings=road.settings,
        description="",
    )
    road.work()
    (failed,) = failed_jobs(road.connection)
    assert (failed.id, failed.kind, failed.tasks) == (job.id, "predict", 0)
    assert "schema 99" in failed.reason

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import pytest
import redis

from backend.domain import BackboneIdentity, Failed
from backend.errors import JobNotFound, LabelConfigInvalid
from backend.jobs.claims import CLAIM_TTL_S
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.versions import backbone_identity, model_version
from backend.jobs.wait import Watch
from backend.settings import Settings, load_settings
from backend.store.connection import connect_async
from backend.store.fleet import Fleet
from backend.store.heads import NO_HEAD, HeadRef
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road

IDENTITY = BackboneIdentity("resnet50", "beef", 320)


class CountingConnection:
    """Counts the round trips of a Redis client."""

    def __init__(self, connection: redis.Redis) -> None:
        self.trips = 0
        pool = connection.connection_pool
        get, count = pool.get_connection, self

        def counted(*args: object, **kwargs: object) -> object:
            count.trips += 1
            return get(*args, **kwargs)

        pool.get_connection = counted  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"identity": BackboneIdentity("resnet50", "cafe", 320)}, id="weights"),
        pytest.param({"identity": BackboneIdentity("resnet50", "beef", 224)}, id="input side"),
        pytest.param({"identity": BackboneIdentity("vgg16", "beef", 320)}, id="backbone"),
        pytest.param({"head": HeadRef(3, "abc", "beef")}, id="head"),
        pytest.param({"head": HeadRef(2, "abc", "beef")}, id="an older head"),
        pytest.param({"fingerprint": "g"}, id="labelling configuration"),
        pytest.param({"score_threshold": 0.5}, id="threshold"),
        pytest.param({"max_boxes": 3}, id="most boxes"),
    ],
)
def test_version_changes_with_what_predictions_depend_on(other: dict[str, object]) -> None:
    def version(**changed: object) -> str:
        chosen = {"identity": IDENTITY, "head": NO_HEAD, "fingerprint": "f"} | changed
        settings = load_settings(
            **{key: chosen[key] for key in ("score_threshold", "max_boxes") if key in chosen}
        )
        return model_version(chosen["identity"], chosen["head"], chosen["fingerprint"], settings)  # type: ignore[arg-type]

    assert version() == version()
    assert version(**other) != version()


def test_version_stays_with_what_predictions_do_not_depend_on() -> None:
    one = model_version(IDENTITY, NO_HEAD, "f", load_settings(workers=1, port=9090))
    other = model_version(
        IDENTITY, NO_HEAD, "f", load_settings(workers=4, port=9091, batch_pictures=2)
    )
    assert one == other
    assert one.startswith("resnet50-0-")


def test_version_before_the_first_worker_is_that_of_the_settings() -> None:
    settings = load_settings(backbone="resnet18")
    assert backbone_identity(settings, None).name == "resnet18"
    left_over = BackboneIdentity("vgg16", "beef", 320)
    assert backbone_identity(settings, left_over).name == "resnet18"
    assert backbone_identity(load_settings(backbone="vgg16"), left_over) is left_over
    embedded = BackboneIdentity("embedded", "feed", 256, (), "embedded")
    by_itself = load_settings(backbone="auto")
    assert backbone_identity(by_itself, embedded) is embedded
    assert backbone_identity(by_itself, left_over).name == "auto", "nobody knows yet"
    assert backbone_identity(load_settings(backbone="mobilenet_v2"), embedded).digest == ""


@pytest.mark.parametrize(
    ("reply", "over", "done"),
    [
        pytest.param([], False, 0, id="nothing came"),
        pytest.param(None, False, 0, id="timed out"),
        pytest.param([[b"rq:results:a", [(b"1-0", {b"type": b"4"})]]], False, 0, id="retried"),
        pytest.param([[b"rq:results:a", [(b"1-0", {b"type": b"1"})]]], False, 3, id="one of two"),
        pytest.param({b"rq:results:b": [[(b"1-0", {b"type": b"2"})]]}, True, 5, id="enough, RESP3"),
        pytest.param(
            [
                [b"rq:results:a", [(b"1-0", {b"type": b"4"}), (b"2-0", {b"type": b"3"})]],
                [b"rq:results:b", [(b"1-0", {b"type": b"5"})]],
            ],
            True,
            8,
            id="both",
        ),
    ],
)
def test_watch_ends_when_it_should(reply: object, over: bool, done: int) -> None:
    watch = Watch({"a": 3, "b": 5}, enough=5).after(reply)
    assert (watch.over, watch.done) == (over, done)
    assert (watch.block_ms(1.0) is None) == over


def test_watch_reads_on_after_a_retry_and_ends_at_the_deadline() -> None:
    watch = Watch({"a": 3}).after([[b"rq:results:a", [(b"1-0", {b"type": b"4"})]]])
    assert watch.streams() == {"rq:results:a": "1-0"}
    assert watch.block_ms(0.5) == 500
    assert watch.block_ms(0.0) is None
    assert Watch({}).over


def test_no_tasks(road: Road) -> None:
    assert road.predict(road.call([])) == []
    assert road.waiting() == 0


def test_order_and_length_are_kept(make_road: MakeRoad) -> None:
    road = make_road(carrier_tasks=2)
    addresses = road.pictures.add(5)
    call = road.call([*addresses, "", addresses[0]])
    replies = road.predict(call)
    assert [reply is not None for reply in replies] == [True] * 5 + [False, True]
    assert replies[0] == replies[6], "the same picture twice is one prediction"
    alone = [road.predict(road.call([address]))[0] for address in addresses]
    assert replies[:5] == alone


def test_a_task_without_its_address_needs_no_worker(road: Road) -> None:
    ticket = road.dispatcher.begin(road.call_of([{"other": "x"}, {"image": 7}, {"image": ""}]))
    assert all(isinstance(a, Failed) and a.code == "media_missing" for a in ticket.answers)
    assert road.waiting() == 0
    assert road.dispatcher.finish(ticket) == [None, None, None]


def test_a_configuration_that_cannot_be_served_is_refused(road: Road) -> None:
    with pytest.raises(LabelConfigInvalid):
        road.dispatcher.begin(road.call(["a"], label_config="<View/>"))


def test_a_cached_call_touches_no_worker(road: Road) -> None:
    call = road.call(road.pictures.add(3))
    first = road.predict(call)
    counting = CountingConnection(road.connection)
    ticket = road.dispatcher.begin(call)
    assert counting.trips <= 4
    assert road.waiting() == 0
    assert ticket.watch.over
    assert road.dispatcher.finish(ticket) == first


def test_one_task_goes_ahead_of_many(road: Road) -> None:
    many, one = road.pictures.add(2), road.pictures.add(1, first=2)
    road.dispatcher.begin(road.call(many))
    road.dispatcher.begin(road.call(one, queue_name="interactive"))
    assert (road.waiting("interactive"), road.waiting("predict")) == (1, 1)


def test_two_identical_calls_compute_once(road: Road) -> None:
    call = road.call(road.pictures.add(4))
    first, second = road.dispatcher.begin(call), road.dispatcher.begin(call)
    assert road.waiting() == 1
    assert second.own_jobs == []
    road.work()
    for ticket in (first, second):
        road.dispatcher.wait_blocking(ticket, 10.0)
        assert all(reply is not None for reply in road.dispatcher.finish(ticket))
    assert set(road.pictures.asked.values()) == {1}


def test_what_an_ended_job_left_is_taken_over(road: Road) -> None:
    call = road.call(road.pictures.add(1))
    ticket = road.dispatcher.begin(call)
    (job_id,) = ticket.own_jobs
    road.connection.delete(f"rq:job:{job_id}", "rq:queue:predict")
    again = road.dispatcher.begin(call)
    assert len(again.own_jobs) == 1
    road.work()
    assert road.dispatcher.finish(again) != [None]


def test_waiting_ends_with_the_last_job(road: Road) -> None:
    async def through() -> list[bytes | None]:
        ticket = road.dispatcher.begin(road.call(road.pictures.add(2)))
        aredis = connect_async(road.settings.redis_url)
        waiting = asyncio.create_task(road.dispatcher.wait(ticket, aredis, 20.0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        road.work()
        await waiting
        await aredis.aclose()
        return road.dispatcher.finish(ticket)

    assert all(reply is not None for reply in asyncio.run(through()))


def test_the_deadline_ends_the_wait_and_the_work_goes_on(road: Road) -> None:
    call = road.call(road.pictures.add(1))
    ticket = road.dispatcher.begin(call)
    begun_s = time.monotonic()
    road.dispatcher.wait_blocking(ticket, 0.2)
    assert 0.15 < time.monotonic() - begun_s < 2.0
    assert road.dispatcher.finish(ticket) == [None]
    road.work()
    assert road.dispatcher.finish(road.dispatcher.begin(call)) != [None]


def test_a_large_call_with_a_key_is_answered_early(keyed_road: Road, make_road: MakeRoad) -> None:
    road = make_road(
        label_studio_url=keyed_road.settings.label_studio_url,
        label_studio_api_key=keyed_road.settings.label_studio_api_key,
        predict_inline_tasks=2,
        carrier_tasks=2,
    )
    ticket = road.dispatcher.begin(road.call(road.pictures.add(6)))
    assert ticket.watch.enough == 2
    road.work()
    road.dispatcher.wait_blocking(ticket, 5.0)
    replies = road.dispatcher.finish(ticket)
    assert [reply is not None for reply in replies] == [True, True] + [False] * 4


def test_views_of_a_job(road: Road) -> None:
    with pytest.raises(JobNotFound):
        road.dispatcher.job("nothing")
    ticket = road.dispatcher.begin(road.call(road.pictures.add(2)))
    (job_id,) = ticket.own_jobs
    view = road.dispatcher.job(job_id)
    assert (view.state, view.progress, view.outcome) == ("queued", {"done": 0, "total": 2}, None)
    road.work()
    view = road.dispatcher.job(job_id)
    assert (view.state, view.progress) == ("done", {"done": 2, "total": 2})
    assert view.outcome == {"predicted": 2, "failed": {}}
    assert road.dispatcher.cancel(job_id) == view, "what has ended stays"


def test_cancelling_a_waiting_job_wakes_who_waits_and_frees_its_tasks(road: Road) -> None:
    call = road.call(road.pictures.add(1))
    ticket = road.dispatcher.begin(call)
    assert road.dispatcher.cancel(ticket.own_jobs[0]).state == "cancelled"
    assert road.waiting() == 0
    road.dispatcher.wait_blocking(ticket, 30.0)
    assert ticket.watch.over
    assert road.dispatcher.finish(ticket) == [None]
    assert road.predict(call) != [None]


def test_cancelling_a_running_job_stops_it_after_a_batch_or_two(make_road: MakeRoad) -> None:
    road = make_road(batch_pictures=1)
    call = road.call(road.pictures.add(12))
    ticket = road.dispatcher.begin(call)
    (job_id,) = ticket.own_jobs
    running = threading.Event()
    held = threading.Event()

    def hold(path: str) -> None:
        if path == "/5.png":
            running.set()
            held.wait(5.0)

    road.pictures.on_get = hold

    def cancel() -> None:
        running.wait(10.0)
        road.dispatcher.cancel(job_id)
        held.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    road.work()
    canceller.join()
    view = road.dispatcher.job(job_id)
    assert view.state == "cancelled", view
    replies = road.dispatcher.finish(ticket)
    assert replies[0] is not None
    assert replies[11] is None
    road.pictures.on_get = lambda path: None
    assert all(reply is not None for reply in road.predict(call))


def test_a_claim_lasts_longer_than_a_job(road: Road) -> None:
    assert road.settings.job_timeout_s * (road.settings.job_retries + 1) < CLAIM_TTL_S


def test_predictions_carry_the_version_that_setup_tells(road: Road) -> None:
    Fleet(road.connection).publish_identity(road.backbone.identity)
    version = road.dispatcher.model_version("1.1795224262", RECTANGLES)
    (reply,) = road.predict(road.call(road.pictures.add(1)))
    assert reply is not None
    assert json.loads(reply)["model_version"] == version


def test_a_call_counts_as_asked_when_it_came_in(
    connection: redis.Redis, settings: Callable[..., Settings]
) -> None:
    """However long Redis kept us waiting since: Label Studio decided before what it lacks."""
    keyed = settings(label_studio_api_key="key")
    dispatcher = Dispatcher(keyed, connection, now_s=lambda: 1000.0)
    call = PredictCall("1", RECTANGLES, (), "predict")
    assert dispatcher.begin(call, time.monotonic() - 50.0).asked_at_s <= 950.0
    assert 999.0 < dispatcher.begin(call).asked_at_s <= 1000.0

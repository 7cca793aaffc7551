from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from backend.jobs.process import current
from backend.jobs.push import MARGIN_S, Push
from backend.jobs.push_requests import (
    PushState,
    job_limit_s,
    push_state,
    request_push,
    requeue_due_pushes,
)
from backend.store import keys
from backend.store.counters import Counters
from backend.store.deliveries import Deliveries
from backend.store.predictions import PredictionCache
from tests.jobs.conftest import MakeRoad, Road
from tests.labelstudio_standin import Failure, LabelStudioStandin


class Late:
    """Tasks of a call that was answered before its predictions were done."""

    def __init__(self, road: Road, standin: LabelStudioStandin, count: int) -> None:
        self.road = road
        self.ids = standin.add_tasks([{"image": a} for a in road.pictures.add(count)])
        self.call = road.call_of([standin.tasks[i]["data"] for i in self.ids])
        ticket = road.dispatcher.begin(self.call)
        self.version = ticket.version
        assert road.dispatcher.finish(ticket) == [None] * count

    def push(self, after_s: float = 0.0) -> dict[str, object]:
        """One push as of some seconds from now."""
        client = current().label_studio
        assert client is not None
        later = time.time() + after_s
        road = self.road
        return Push(road.settings, road.connection, client, "1", now_s=lambda: later).run()

    def hold_push_jobs(self) -> None:
        """No push job runs from now on, as if every worker were busy."""
        self.road.connection.set(keys.push_waits("1"), 1)
        self.road.connection.delete("rq:queue:push")

    def left(self) -> list[str]:
        return Deliveries(self.road.connection).projects_with_pending()


@pytest.fixture
def late(keyed_road: Road, label_studio: LabelStudioStandin) -> Late:
    return Late(keyed_road, label_studio, 3)


STALE_S = 10_000.0


def test_late_predictions_arrive_once(late: Late, label_studio: LabelStudioStandin) -> None:
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == late.ids
    assert all(prediction["result"] for prediction in label_studio.predictions)
    assert late.left() == []
    assert late.push() == {"pushed": 0, "dropped": {}}
    assert len(label_studio.predictions) == 3
    assert Counters(late.road.connection).read()["predictions_pushed", ()] == 3


def test_a_job_that_ends_while_a_push_looks_is_pushed_later(
    late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    late.hold_push_jobs()
    read = PredictionCache.get_many

    def ends_just_then(cache: PredictionCache, task_keys: Sequence[str]) -> list[Any]:
        found = read(cache, task_keys)
        monkeypatch.undo()
        late.road.work()
        return list(found)

    monkeypatch.setattr(PredictionCache, "get_many", ends_just_then)
    assert late.push() == {"pushed": 0, "dropped": {}}
    assert late.push() == {"pushed": 3, "dropped": {}}


def test_a_push_stops_where_all_is_still_in_the_works(
    make_road: MakeRoad, label_studio: LabelStudioStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(
        make_road(
            label_studio_url=label_studio.url,
            label_studio_api_key=label_studio.api_key,
            push_batch=2,
        ),
        label_studio,
        6,
    )
    claims: list[int] = []
    claim = Deliveries.claim

    def counted(deliveries: Deliveries, *arguments: Any) -> Any:
        claims.append(1)
        return claim(deliveries, *arguments)

    monkeypatch.setattr(Deliveries, "claim", counted)
    assert late.push() == {"pushed": 0, "dropped": {}}
    assert len(claims) == 1
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == late.ids


def test_what_was_pushed_is_answered_when_asked_again(
    late: Late, label_studio: LabelStudioStandin
) -> None:
    asked_before = late.road.dispatcher.begin(late.call)
    late.road.work()
    # This request was on its way when the push arrived: Label Studio would store both.
    assert late.road.dispatcher.finish(asked_before) == [None] * 3
    assert late.left() == []
    asked_later = late.road.dispatcher.begin(late.call)
    asked_later.asked_at_s += 10
    assert all(late.road.dispatcher.finish(asked_later))
    assert len(label_studio.predictions) == 3


def test_what_is_answered_meanwhile_is_not_pushed(
    late: Late, label_studio: LabelStudioStandin
) -> None:
    late.hold_push_jobs()
    second = late.road.dispatcher.begin(late.call)
    late.road.work()
    assert late.left() == ["1"]
    assert all(late.road.dispatcher.finish(second))
    assert late.push() == {"pushed": 0, "dropped": {}}
    assert label_studio.stored() == []
    assert late.left() == []


@pytest.mark.parametrize("failure", ["500_after", "dropped_after"])
def test_a_reply_lost_after_storing_stores_nothing_twice(
    late: Late, label_studio: LabelStudioStandin, failure: Failure
) -> None:
    label_studio.import_failures.append(failure)
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == late.ids
    late.push(STALE_S)
    assert sorted(label_studio.stored(late.version)) == late.ids
    assert late.left() == []


@pytest.mark.parametrize("failure", ["500_before", "dropped_before"])
def test_a_failure_of_unknown_outcome_is_settled_by_asking_later(
    late: Late, label_studio: LabelStudioStandin, failure: Failure
) -> None:
    label_studio.import_failures.append(failure)
    late.road.work()
    assert label_studio.stored() == []
    late.push(5.0)
    assert label_studio.stored() == [], "an import may still be under way there"
    late.push(job_limit_s(late.road.settings) + MARGIN_S + 5)
    assert sorted(label_studio.stored(late.version)) == late.ids
    assert late.left() == []


@pytest.mark.parametrize("failure", ["401", "403"])
def test_a_refusal_is_tried_again_with_growing_pauses(
    late: Late, label_studio: LabelStudioStandin, failure: Failure
) -> None:
    label_studio.import_failures += [failure, failure, failure, failure]
    late.road.work()
    connection, settings = late.road.connection, late.road.settings
    state = push_state(connection, "1")
    assert state.failures >= 1
    assert late.left() == ["1"]
    assert not request_push(connection, settings, "1", state.ended_s + 0.5)
    assert requeue_due_pushes(connection, settings, state.ended_s + 1.0) == 0
    assert requeue_due_pushes(connection, settings, state.not_before_s + 0.1) == 1
    assert requeue_due_pushes(connection, settings, state.not_before_s + 0.1) == 0, "one waits"
    label_studio.import_failures.clear()
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == late.ids
    assert push_state(connection, "1").failures == 0


def test_label_studio_out_of_reach_loses_nothing(
    late: Late, label_studio: LabelStudioStandin
) -> None:
    label_studio.stop()
    late.road.work()
    assert late.left() == ["1"]
    label_studio.start()
    late.push(1.0)
    assert sorted(label_studio.stored(late.version)) == late.ids


def test_deleted_tasks_are_dropped_and_the_others_pushed(
    late: Late, label_studio: LabelStudioStandin
) -> None:
    label_studio.delete_task(late.ids[1])
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == [late.ids[0], late.ids[2]]
    assert late.left() == []
    counted = Counters(late.road.connection).read()
    assert counted["predictions_dropped", (("reason", "task_deleted"),)] == 1


def test_what_label_studio_rejects_is_dropped_for_good(
    late: Late, label_studio: LabelStudioStandin
) -> None:
    label_studio.refused_labels.add("Thing")
    late.road.work()
    assert label_studio.stored() == []
    assert late.left() == []
    counted = Counters(late.road.connection).read()
    assert counted["predictions_dropped", (("reason", "rejected"),)] == 3


def test_tasks_that_cannot_be_done_are_not_waited_for(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    good = keyed_road.pictures.add(1)
    ids = label_studio.add_tasks([{"image": a} for a in [*good, f"{keyed_road.pictures.url}/no"]])
    ticket = keyed_road.dispatcher.begin(
        keyed_road.call_of([label_studio.tasks[i]["data"] for i in ids])
    )
    keyed_road.dispatcher.finish(ticket)
    keyed_road.work()
    assert label_studio.stored() == ids[:1]
    assert Deliveries(keyed_road.connection).projects_with_pending() == []


def test_what_is_in_the_works_stays_pending(late: Late, label_studio: LabelStudioStandin) -> None:
    assert late.push() == {"pushed": 0, "dropped": {}}
    assert Deliveries(late.road.connection).pending_count("1") == 3
    late.road.work()
    assert sorted(label_studio.stored(late.version)) == late.ids


def test_predictions_of_a_cancelled_job_are_not_waited_for(late: Late) -> None:
    (job_id,) = {late.road.dispatcher.begin(late.call).job_of[key] for key in keys_of(late)}
    late.road.dispatcher.cancel(job_id)
    assert late.push() == {"pushed": 0, "dropped": {"never_predicted": 3}}
    assert late.left() == []


def keys_of(late: Late) -> list[str]:
    return [key for key in late.road.dispatcher.begin(late.call).keys if key is not None]


def test_a_dead_pusher_s_claims_are_settled(late: Late, label_studio: LabelStudioStandin) -> None:
    late.hold_push_jobs()
    late.road.work()
    claimed = Deliveries(late.road.connection).claim("1", 10, time.time())
    assert len(claimed) == 3
    label_studio.store(claimed[0].task_id, {"model_version": late.version})  # it got so far
    assert late.push(STALE_S)["pushed"] == 3
    assert sorted(label_studio.stored(late.version)) == late.ids


def test_large_pushes_go_in_batches(keyed_road: Road, label_studio: LabelStudioStandin) -> None:
    settings = keyed_road.settings.model_copy(update={"push_batch": 2})
    late = Late(keyed_road, label_studio, 5)
    late.road.settings = settings
    late.hold_push_jobs()
    keyed_road.work()
    assert late.push()["pushed"] == 5
    imports = [path for method, path in label_studio.calls if path.endswith("/import/predictions")]
    assert len(imports) == 3
    assert sorted(label_studio.stored(late.version)) == late.ids


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [
        pytest.param(1, 2.0, id="first"),
        pytest.param(3, 8.0, id="third"),
        pytest.param(300, 300.0, id="bounded"),
    ],
)
def test_pauses_grow(failures: int, pause_s: float) -> None:
    assert PushState(100.0, failures).not_before_s == 100.0 + pause_s


def test_without_a_key_nothing_is_pushed(road: Road) -> None:
    assert not request_push(road.connection, road.settings, "1", 0.0)
    assert requeue_due_pushes(road.connection, road.settings, 0.0) == 0

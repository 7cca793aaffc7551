from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from backend.domain import BackboneIdentity
from backend.errors import JobError
from backend.jobs import carrier, process
from backend.jobs.answers import choose
from backend.jobs.enqueue import PredictCall
from backend.jobs.payload import Carrier, CarrierTask, carrier_sizes
from backend.jobs.process import prediction_cache
from backend.store.counters import Counters
from backend.store.fleet import Fleet
from backend.vision.classes import imagenet_classes
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road

SERIES = """
<View>
  <Image name="image" valueList="$images"/>
  <RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels>
</View>
"""
# The untrained network spreads its probability evenly: only a choice of many classes is seen.
ANYTHING = ",".join(entry.name for entry in imagenet_classes() if "'" not in entry.name)
TWO_CONTROLS = f"""
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels>
  <Choices name="kind" toName="image"><Choice value="x" predicted_values="{ANYTHING}"/></Choices>
  <RectangleLabels name="off" toName="image" model_skip="true"><Label value="X"/></RectangleLabels>
</View>
"""
DYNAMIC = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image" value="$labels"/>
</View>
"""


def outcome(road: Road, call: PredictCall) -> tuple[list[Any], Mapping[str, Any]]:
    ticket = road.dispatcher.begin(call)
    (job_id,) = ticket.own_jobs
    road.work()
    replies = road.dispatcher.finish(ticket)
    view = road.dispatcher.job(job_id)
    assert view.state == "done", view.reason
    assert view.outcome is not None
    return [None if r is None else json.loads(r) for r in replies], view.outcome


@pytest.mark.parametrize(
    ("count", "workers", "most", "expected"),
    [
        pytest.param(0, 4, 32, [], id="nothing"),
        pytest.param(1, 4, 32, [1], id="one"),
        pytest.param(16, 4, 32, [8, 8], id="few are not torn apart"),
        pytest.param(64, 4, 32, [16, 16, 16, 16], id="every worker gets some"),
        pytest.param(65, 1, 32, [22, 22, 21], id="no carrier is too large"),
        pytest.param(65, 0, 32, [22, 22, 21], id="no worker yet"),
        pytest.param(3, 9, 1, [1, 1, 1], id="one task a carrier"),
    ],
)
def test_carriers_are_even_and_bounded(
    count: int, workers: int, most: int, expected: list[int]
) -> None:
    assert carrier_sizes(count, workers, most) == expected


@pytest.mark.parametrize(
    ("probability", "multiple", "threshold", "expected"),
    [
        pytest.param({}, False, 0.0, ((), 0.0), id="nothing known"),
        pytest.param({"a": 0.2, "b": 0.6}, False, 0.0, (("b",), 0.6), id="single: the best"),
        pytest.param({"a": 0.2, "b": 0.6}, False, 0.7, ((), 0.0), id="below the threshold"),
        pytest.param({"a": 0.4, "b": 0.5, "c": 0.1}, True, 0.0, (("b", "a"), 0.4), id="rivals"),
        pytest.param({"b": 0.5, "a": 0.5}, False, 0.0, (("a",), 0.5), id="ties by name"),
        pytest.param({"a": 0.02, "b": 0.02}, False, 0.0, ((), 0.0), id="none of them is seen"),
    ],
)
def test_choose(
    probability: dict[str, float],
    multiple: bool,
    threshold: float,
    expected: tuple[tuple[str, ...], float],
) -> None:
    assert choose(probability, multiple=multiple, score_threshold=threshold) == expected


def test_payload_comes_back_as_it_was() -> None:
    sent = Carrier("1", "v", "d", "f", (CarrierTask("k", None, {"image": "a"}),))
    assert Carrier.from_json(json.loads(json.dumps(sent.to_json()))) == sent


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({}, id="empty"),
        pytest.param({"schema": 0, "tasks": []}, id="another schema"),
        pytest.param({"schema": 1, "tasks": [{"id": 1}]}, id="incomplete"),
    ],
)
def test_payload_of_another_release_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="same release"):
        Carrier.from_json(record)


def test_job_without_a_warm_process_says_so() -> None:
    process.release()
    with pytest.raises(JobError, match="loaded no model"):
        carrier.run(Carrier("1", "v", "", "f", ()).to_json())


def test_one_bad_picture_leaves_its_neighbours_unharmed(road: Road) -> None:
    good = road.pictures.add(3)
    road.pictures.pictures["/broken.png"] = b"\x89PNG\r\n\x1a\n then nothing"
    broken, missing = f"{road.pictures.url}/broken.png", f"{road.pictures.url}/missing.png"
    addresses = [good[0], broken, good[1], missing, good[2]]

    replies, returned = outcome(road, road.call(addresses))

    assert [reply is not None for reply in replies] == [True, False, True, False, True]
    assert returned == {"predicted": 3, "failed": {"media_unreadable": 1, "media_missing": 1}}
    counted = Counters(road.connection).read()
    assert counted["tasks_predicted", ()] == 3
    assert counted["tasks_failed", (("code", "media_missing"),)] == 1
    assert counted["pictures", ()] == 3


def test_predictions_are_finished_ones(road: Road) -> None:
    replies, _ = outcome(road, road.call(road.pictures.add(2)))
    version = road.dispatcher.model_version("1", RECTANGLES)
    for reply in replies:
        assert reply["model_version"] == version
        assert 0 <= reply["score"] <= 1
        assert reply["result"], "the disc is seen"
        for region in reply["result"]:
            assert region["from_name"] == "label"
            assert region["original_width"] == 96
            assert region["value"]["rectanglelabels"] == ["Thing"]


def test_a_picture_of_several_tasks_is_fetched_once(road: Road) -> None:
    (address,) = road.pictures.add(1)
    data = [{"image": address, "labels": [{"value": name}]} for name in ("Thing", "Other")]
    replies, _ = outcome(road, road.call_of(data, label_config=DYNAMIC))
    names = [reply["result"][0]["value"]["rectanglelabels"] for reply in replies]
    assert names == [["Thing"], ["Other"]]
    assert road.pictures.asked["/0.png"] == 1


def test_every_picture_of_a_list_is_looked_at(make_road: MakeRoad) -> None:
    road = make_road(batch_pictures=2)  # the task spans two batches
    addresses = road.pictures.add(3)
    replies, returned = outcome(road, road.call_of([{"images": addresses}], label_config=SERIES))
    assert returned == {"predicted": 1, "failed": {}}
    assert {region["item_index"] for region in replies[0]["result"]} == {0, 1, 2}


def test_the_device_starts_before_a_whole_batch_is_fetched(make_road: MakeRoad) -> None:
    road = make_road(batch_pictures=4, media_timeout_s=20.0)
    ticket = road.dispatcher.begin(road.call(road.pictures.add(11)))
    cache = prediction_cache(road.settings, road.connection)
    first = [key or "" for key in ticket.keys[:2]]
    done_meanwhile = []

    def hold(path: str) -> None:
        if path == "/2.png":
            until_s = time.monotonic() + 10
            while None in cache.get_many(first) and time.monotonic() < until_s:
                time.sleep(0.01)
            done_meanwhile.append(None not in cache.get_many(first))

    road.pictures.on_get = hold
    road.work()
    assert done_meanwhile == [True]
    assert None not in road.dispatcher.finish(ticket)
    assert Counters(road.connection).read()["batches", ()] == 4  # of 2, 4, 4 and 1


def test_a_list_with_a_lost_picture_fails_as_a_whole(make_road: MakeRoad) -> None:
    road = make_road(batch_pictures=1)
    addresses = [*road.pictures.add(2), f"{road.pictures.url}/missing.png"]
    _, returned = outcome(road, road.call_of([{"images": addresses}], label_config=SERIES))
    assert returned == {"predicted": 0, "failed": {"media_missing": 1}}


def test_several_controls_share_one_look_and_skipped_ones_are_left_out(road: Road) -> None:
    replies, _ = outcome(road, road.call(road.pictures.add(1), label_config=TWO_CONTROLS))
    assert {region["from_name"] for region in replies[0]["result"]} == {"label", "kind"}
    assert Counters(road.connection).read()["batches", ()] == 1


def test_other_weights_than_the_version_names_are_refused(make_road: MakeRoad) -> None:
    road = make_road(job_retries=1)
    Fleet(road.connection).publish_identity(BackboneIdentity("mobilenet_v2", "feed", 64))
    ticket = road.dispatcher.begin(road.call(road.pictures.add(1)))
    road.work()
    assert road.dispatcher.finish(ticket) == [None]
    view = road.dispatcher.job(ticket.own_jobs[0])
    assert view.state == "failed"
    assert "weights feed" in view.reason


def test_an_unknown_method_is_told_as_the_reason(road: Road) -> None:
    config = RECTANGLES.replace('name="label"', 'name="label" model_saliency="magic"')
    ticket = road.dispatcher.begin(road.call(road.pictures.add(2), label_config=config))
    road.work()
    assert road.dispatcher.finish(ticket) == [None, None]
    view = road.dispatcher.job(ticket.own_jobs[0])
    assert view.state == "failed"
    assert "magic" in view.reason
    assert Counters(road.connection).read()["tasks_failed", (("code", "unknown_name"),)] == 2


@pytest.mark.slow
def test_a_job_past_its_time_is_stopped_and_says_why(make_road: MakeRoad) -> None:
    road = make_road(job_timeout_s=1, batch_pictures=1, media_timeout_s=5.0)
    quick, slow = road.pictures.add(2)
    released = threading.Event()

    def hold(path: str) -> None:
        if path == "/1.png":
            released.wait(5.0)

    road.pictures.on_get = hold
    ticket = road.dispatcher.begin(road.call([quick, slow]))
    road.work()
    released.set()
    replies = road.dispatcher.finish(ticket)
    assert replies[0] is not None, "what was done before is kept"
    assert replies[1] is None
    assert "JOB_TIMEOUT=1" in str(ticket.answers[1])

"""What an annotator points at, from the call to the region, on a real Redis."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from backend.domain import Failed
from backend.errors import JobError
from backend.jobs import interactive
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import current
from backend.jobs.queues import queue
from backend.jobs.recent import KEPT_S, MOST_PICTURES, RecentPictures, Seen
from backend.learning.pointed import Pointable
from backend.store.predictions import PredictionCache
from tests.jobs.conftest import MakeRoad, Road
from tests.labelstudio.test_interaction import BOXES, IMAGE, POINTS, point, rectangle
from tests.vision.conftest import drawn_picture

CONFIG = f"<View>{IMAGE}{POINTS}{BOXES}</View>"
SIDE: dict[str, Any] = {"original_width": 96, "original_height": 96}


def asked(road: Road, address: str, *regions: dict[str, Any]) -> list[Any]:
    """One interactive call with a worker that answers it."""
    call = road.call([address], label_config=CONFIG, queue_name="interactive")
    replies = road.predict(replace(call, context={"result": list(regions)}))
    return [None if reply is None else json.loads(reply) for reply in replies]


def test_a_rectangle_is_answered_with_one_of_its_label(road: Road) -> None:
    (address,) = road.pictures.add(1)
    (reply,) = asked(road, address, rectangle(**SIDE))
    assert reply["model_version"] == road.dispatcher.model_version("1", CONFIG)
    (region,) = reply["result"]
    assert (region["from_name"], region["to_name"]) == ("rl", "img")
    assert region["type"] == "rectanglelabels"
    assert region["value"]["rectanglelabels"] == ["Van"]
    assert (region["original_width"], region["original_height"]) == (96, 96)
    # The cells show nothing; what moves is pulled by the picture's colours, half way at most.
    given = {"x": 25, "y": 50, "width": 50, "height": 25}
    for key, value in given.items():
        assert abs(region["value"][key] - value) < 25
    assert region["score"] == reply["score"]


def test_the_known_object_draws_the_rectangle(make_road: MakeRoad) -> None:
    road = make_road()
    (address,) = road.pictures.add(1)
    (alone,) = asked(road, address, rectangle(**SIDE))
    road.learning.object = [0.35, 0.5, 0.75, 0.75]
    road.pictures.pictures["/again.png"] = road.pictures.pictures["/0.png"]
    (drawn,) = asked(road, f"{road.pictures.url}/again.png", rectangle(**SIDE))
    assert drawn["result"][0]["value"]["x"] > alone["result"][0]["value"]["x"]


def test_the_picture_is_fetched_once_for_many_clicks(road: Road) -> None:
    (address,) = road.pictures.add(1)
    for x in (20, 40, 60):
        (reply,) = asked(road, address, point(x, 50, **SIDE))
        (region,) = reply["result"]
        box = region["value"]
        assert box["x"] <= x <= box["x"] + box["width"]
        assert box["rectanglelabels"] == ["Car"]
    assert sum(road.pictures.asked.values()) == 1
    assert road.learning.extracted == 1


def test_the_same_marks_are_answered_from_the_cache(road: Road) -> None:
    (address,) = road.pictures.add(1)
    first = asked(road, address, point(**SIDE))
    call = road.call([address], label_config=CONFIG, queue_name="interactive")
    ticket = road.dispatcher.begin(replace(call, context={"result": [point(**SIDE)]}))
    assert ticket.cached == {0}
    assert [json.loads(reply or b"") for reply in road.dispatcher.finish(ticket)] == first
    # Nor do they stand in the way of the ordinary prediction, or it in theirs.
    ordinary = road.dispatcher.begin(call)
    assert ordinary.cached == frozenset()
    other = road.dispatcher.begin(replace(call, context={"result": [point(10, **SIDE)]}))
    assert other.cached == frozenset()


def test_where_nothing_is_marked_no_worker_is_asked(road: Road) -> None:
    (address,) = road.pictures.add(1)
    call = road.call([address], label_config=CONFIG, queue_name="interactive")
    for regions in ([], [point(is_positive=False, **SIDE)]):
        ticket = road.dispatcher.begin(replace(call, context={"result": regions}))
        assert road.waiting() == 0
        (reply,) = road.dispatcher.finish(ticket)
        assert json.loads(reply or b"") == {
            "result": [],
            "score": 0.0,
            "model_version": road.dispatcher.model_version("1", CONFIG),
        }


def test_a_picture_that_cannot_be_had_is_no_answer(road: Road) -> None:
    assert asked(road, f"{road.pictures.url}/none.png", point(**SIDE)) == [None]
    call = road.call([f"{road.pictures.url}/none.png"], label_config=CONFIG)
    ticket = road.dispatcher.begin(replace(call, context={"result": [point(**SIDE)]}))
    (failed,) = ticket.answers
    assert isinstance(failed, Failed)
    assert failed.code == "media_missing"


def test_an_answer_is_never_pushed(keyed_road: Road) -> None:
    """It is for the editor that is open; stored it would be a prediction of one object."""
    (address,) = keyed_road.pictures.add(1)
    call = keyed_road.call([address], label_config=CONFIG, queue_name="interactive")
    ticket = keyed_road.dispatcher.begin(replace(call, context={"result": [point(**SIDE)]}))
    assert keyed_road.dispatcher.finish(ticket) == [None]  # late
    keyed_road.dispatcher.defer_all(ticket)  # the caller has gone
    assert keyed_road.waiting("push") == 0
    assert current().deliveries.projects_with_pending() == []
    keyed_road.work()
    assert keyed_road.waiting() == 0
    (reply,) = keyed_road.predict(ticket.call)
    assert len(json.loads(reply or b"")["result"]) == 1


def test_it_goes_before_everything_else_and_by_its_own_function(road: Road) -> None:
    (address,) = road.pictures.add(1)
    call = road.call([address], label_config=CONFIG, queue_name="interactive")
    road.dispatcher.begin(replace(call, context={"result": [point(**SIDE)]}))
    (job,) = queue(road.connection, "interactive").get_jobs()
    assert job.func_name == "backend.jobs.interactive.run"
    (task,) = Carrier.from_json(job.args[0]).tasks
    assert task.interaction is not None
    assert task.interaction["control"] == "rl"


@pytest.mark.parametrize("record", [None, {}, {"control": "rl"}, {"size_hw": 5}], ids=str)
def test_an_unreadable_interaction_is_told(road: Road, record: Any) -> None:
    (address,) = road.pictures.add(1)
    ticket = road.dispatcher.begin(road.call([address], label_config=CONFIG))
    (job,) = queue(road.connection, "predict").get_jobs()
    carrier = Carrier.from_json(job.args[0])
    (task,) = carrier.tasks
    broken = replace(carrier, tasks=(CarrierTask(task.key, 1, task.data, record),))
    assert interactive.run(broken.to_json()) == {
        "predicted": 0,
        "failed": {JobError.code: 1},
    }
    cache: PredictionCache = current().cache
    (left,) = cache.get_many([ticket.keys[0] or ""])
    assert isinstance(left, Failed)


def test_recent_pictures_are_few_and_fresh() -> None:
    clock = [0.0]
    recent = RecentPictures(lambda: clock[0])
    picture = drawn_picture()
    seen = Seen(picture, Pointable(picture.rgb_u8[..., 0].astype("float32")[None], None))
    for number in range(MOST_PICTURES):
        recent.put("1", str(number), seen)
    assert recent.get("1", "0") is seen
    recent.put("1", "new", seen)
    assert recent.get("1", "1") is None  # used longest ago
    assert recent.get("1", "0") is seen
    assert recent.get("2", "0") is None  # another project's rights are its own
    clock[0] = KEPT_S + 1
    assert recent.get("1", "0") is None

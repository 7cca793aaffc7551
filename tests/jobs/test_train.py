"""Trainings on a real Redis with pictures by HTTP and a learning of a few lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backend.domain import BackboneIdentity
from backend.jobs.process import current
from backend.jobs.queues import queue
from backend.jobs.training import request_due_trainings, request_training
from backend.labelstudio.events import parse_event
from backend.store.fleet import Fleet
from backend.store.projects import ProjectStore
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road
from tests.jobs.plain_learner import PlainHead
from tests.labelstudio_standin import LabelStudioStandin

NEW = '<Label value="Thing"/><Label value="New"/>'
TWO_LABELS = RECTANGLES.replace('<Label value="Thing"/>', NEW)


def region(x: float = 25, y: float = 25, side: float = 50, label: str = "Thing") -> dict[str, Any]:
    """A square in percent of the drawn pictures, which have 96 pixels a side."""
    return {
        "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 96, "original_height": 96, "image_rotation": 0,
        "value": {"x": x, "y": y, "width": side, "height": side, "rotation": 0,
                  "rectanglelabels": [label]},
    }  # fmt: skip


class Team:
    """People who label a project, and the worker that learns from them."""

    def __init__(self, road: Road, label_config: str = RECTANGLES) -> None:
        self.road = road
        ProjectStore(road.connection).remember_setup(
            "1", label_config=label_config, extra_params={}, hostname=""
        )
        Fleet(road.connection).publish_identity(road.backbone.identity)
        self._ids = 0

    def accept(
        self, addresses: Sequence[str], regions: Callable[[], list[dict[str, Any]]], at: int = 1
    ) -> None:
        """One annotation on a new task for each picture."""
        for address in addresses:
            self._ids += 1
            self.report(self._ids, address, regions(), at)

    def report_video(
        self, number: int, address: str, result: list[dict[str, Any]], **fields: Any
    ) -> None:
        self.report(number, address, result, 1, key="video", **fields)

    def report(
        self,
        number: int,
        address: str,
        result: list[dict[str, Any]],
        at: int,
        key: str = "image",
        **fields: Any,
    ) -> None:
        annotation = {
            "id": number, "task": number, "result": result, "completed_by": 1,
            "updated_at": f"2026-01-01T00:00:{at:02d}Z",
        } | fields  # fmt: skip
        event = {
            "action": "ANNOTATION_UPDATED",
            "annotation": annotation,
            "task": {"id": number, "data": {key: address}},
            "project": {"id": 1},
        }
        current().ledger.apply(parse_event(event))

    def train(self, *, asked: bool = True) -> dict[str, Any]:
        """Ask for a training and have it done; its outcome."""
        road = self.road
        job_id = request_training(road.connection, road.settings, "1", time.time(), asked=asked)
        road.work("train")
        view = road.dispatcher.job(job_id)
        assert view.state == "done", view.reason
        assert view.outcome is not None
        return dict(view.outcome)

    @property
    def head(self) -> int:
        return current().versions.current("1").number

    def version(self) -> str:
        return self.road.dispatcher.model_version("1", RECTANGLES)


@pytest.fixture
def team(road: Road) -> Team:
    return Team(road)


def test_a_project_learns_and_predicts_what_it_learned(team: Team) -> None:
    road = team.road
    before = team.version()
    team.accept(road.pictures.add(4), lambda: [region()])
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["head"] == team.head == 1
    assert outcome["version"] == team.version() != before
    assert team.version().startswith("mobilenet_v2-1-")
    assert outcome["pictures"] == outcome["judged_on"] == 4
    assert outcome["metrics"]["f1_50"] == 1.0
    meta = current().versions.metas("1")[1]
    assert meta.task_ids == (1, 2, 3, 4)
    assert (meta.backbone_name, meta.labels) == ("mobilenet_v2", ("Thing",))
    (reply,) = road.predict(road.call(road.pictures.add(1, first=9), first_id=50))
    prediction = json.loads(reply or b"")
    assert prediction["model_version"] == team.version()
    assert prediction["score"] == 0.9
    assert [one["value"] for one in prediction["result"]] == [region()["value"]]


def test_training_again_costs_no_forward_pass_and_no_fetch(team: Team) -> None:
    road = team.road
    team.accept(road.pictures.add(3), lambda: [region()])
    team.train()
    passes, fetched = road.learning.extracted, road.pictures.asked.total()
    assert passes == 6, "upright and mirrored"
    assert fetched == 3
    team.train()
    assert (road.learning.extracted, road.pictures.asked.total()) == (passes, fetched)
    (other,) = road.pictures.add(1, first=7)
    road.predict(road.call([other], first_id=50))
    assert road.learning.extracted == passes + 1
    team.accept([other], lambda: [region()])
    team.train()
    assert road.learning.extracted == passes + 2, "only its mirror image was missing"


@pytest.mark.parametrize(
    ("regions", "skipped"), [([], False), ([region()], True)], ids=["nothing here", "skipped"]
)
def test_without_an_accepted_box_nothing_is_trained(
    team: Team, regions: list[dict[str, Any]], skipped: bool
) -> None:
    (address,) = team.road.pictures.add(1)
    team.report(1, address, regions, 1, was_cancelled=skipped)
    outcome = team.train()
    assert outcome["published"] is False
    assert "No box of any label" in outcome["why"]
    assert team.road.learning.fits == []


def test_accepted_labels_that_are_gone_are_named(team: Team) -> None:
    renamed = region()
    renamed["value"] = {**renamed["value"], "rectanglelabels": ["Once"]}
    team.accept(team.road.pictures.add(2), lambda: [renamed])
    assert team.train()["why"].endswith("no longer has labels that were accepted: Once (2).")


def test_one_bad_picture_is_left_out(team: Team) -> None:
    good = team.road.pictures.add(2)
    team.accept([*good, f"{team.road.pictures.url}/missing.png"], lambda: [region()])
    outcome = team.train()
    assert outcome["published"] is True
    assert outcome["left_out"] == {"media_missing": 1}
    assert outcome["pictures"] == 2


def test_a_worse_head_is_not_published(team: Team) -> None:
    team.accept(team.road.pictures.add(4), lambda: [region()])
    assert team.train()["head"] == 1
    # The same place again and again, but out of fold each is held against the odd ones.
    team.accept(team.road.pictures.add(3, first=4), lambda: [region(0, 0, 10)], at=2)
    team.road.learning.spoil = True
    outcome = team.train()
    assert outcome["published"] is False
    assert "Worse than the current one" in outcome["why"]
    assert outcome["current"] == team.head == 1


def test_an_annotation_that_is_deleted_is_forgotten(team: Team) -> None:
    team.accept(team.road.pictures.add(3), lambda: [region()])
    team.train()
    gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 2}], "project": {"id": 1}}
    current().ledger.apply(parse_event(gone))
    assert team.train()["pictures"] == 2
    assert [len(pictures) for pictures in team.road.learning.fits] == [3, 2]
    assert current().versions.metas("1")[2].task_ids == (1, 3)


def test_rolling_back_and_forth(team: Team) -> None:
    team.accept(team.road.pictures.add(3), lambda: [region()])
    zero = team.version()
    team.train()
    one = team.version()
    team.accept(team.road.pictures.add(1, first=5), lambda: [region()])
    team.train()
    two = team.version()
    assert len({zero, one, two}) == 3
    for number, version in ((1, one), (0, zero), (2, two)):
        current().versions.use("1", number)
        assert (team.head, team.version()) == (number, version)
    assert team.road.dispatcher.versions("1", RECTANGLES) == [two, one]


def test_a_head_of_another_backbone_is_not_used(team: Team) -> None:
    team.accept(team.road.pictures.add(3), lambda: [region()])
    team.train()
    Fleet(team.road.connection).publish_identity(BackboneIdentity("mobilenet_v2", "other", 96))
    assert team.version().startswith("mobilenet_v2-0-")


def test_a_prediction_in_flight_is_kept_under_its_own_version(team: Team) -> None:
    road = team.road
    addresses = road.pictures.add(4)
    team.accept(addresses[:3], lambda: [region()])
    ticket = road.dispatcher.begin(road.call(addresses[3:], first_id=50))
    team.train()
    road.work()
    (reply,) = road.dispatcher.finish(ticket)
    assert json.loads(reply or b"")["model_version"] == ticket.version != team.version()
    again = road.dispatcher.begin(road.call(addresses[3:], first_id=50))
    assert again.answers == [None], "the new version has no answer yet"


def test_a_pointer_moved_by_hand_is_not_overrun(team: Team) -> None:
    team.accept(team.road.pictures.add(3), lambda: [region()])
    team.train()
    team.road.learning.before_fit = lambda: current().versions.use("1", 0)
    outcome = team.train()
    assert outcome["published"] is False
    assert "put in use while" in outcome["why"]
    assert team.head == 0


@pytest.mark.slow
def test_what_changes_during_a_training_is_learned_by_one_more(make_road: MakeRoad) -> None:
    road = make_road(train_every=1)
    team = Team(road)
    team.accept(road.pictures.add(3), lambda: [region()])
    (late,) = road.pictures.add(1, first=8)

    def people_go_on() -> None:
        road.learning.before_fit = lambda: None
        for at in (2, 3, 4):
            team.report(9, late, [region()], at)
            assert list(request_due_trainings(road.connection, road.settings, time.time())) == ["1"]
            assert len(queue(road.connection, "train")) == 0, "one runs already"

    road.learning.before_fit = people_go_on
    team.train()
    assert [len(pictures) for pictures in road.learning.fits] == [3, 4]


@pytest.mark.slow
def test_new_labels_keep_the_zero_shot_way(road: Road) -> None:
    team = Team(road, TWO_LABELS)
    team.accept(road.pictures.add(3), lambda: [region()])
    team.train()
    call = road.call(road.pictures.add(1, first=6), label_config=TWO_LABELS, first_id=50)
    (reply,) = road.predict(call)
    labels = [one["value"]["rectanglelabels"] for one in json.loads(reply or b"")["result"]]
    assert ["Thing"] in labels
    assert [] not in labels, "an unnamed box beside a learned one helps nobody"


def test_boxes_are_scaled_to_the_picture_they_lie_on(team: Team) -> None:
    double = region() | {"original_width": 192, "original_height": 192}
    team.accept(team.road.pictures.add(2), lambda: [double])
    team.train()
    head = current().heads.get("1", 1)
    assert isinstance(head, PlainHead)
    assert head.boxes["Thing"] == pytest.approx([0.25, 0.25, 0.75, 0.75])


def test_progress_and_outcome_are_told(team: Team) -> None:
    team.accept(team.road.pictures.add(2), lambda: [region()])
    road = team.road
    job_id = request_training(road.connection, road.settings, "1", time.time())
    assert road.dispatcher.job(job_id).state == "queued"
    road.work()
    assert road.dispatcher.job(job_id).state == "queued", "workers that predict do not train"
    road.work("train")
    view = road.dispatcher.job(job_id)
    assert (view.state, dict(view.progress)) == ("done", {"done": 102, "total": 102})


def test_a_training_that_fails_lets_the_next_one_come(team: Team) -> None:
    team.accept(team.road.pictures.add(2), lambda: [region()])

    def fail() -> None:
        raise ValueError("a defect")

    road = team.road
    road.learning.before_fit = fail
    job_id = request_training(road.connection, road.settings, "1", time.time())
    road.work("train")
    assert road.dispatcher.job(job_id).state == "failed"
    road.learning.before_fit = lambda: None
    assert team.train()["published"] is True


@pytest.mark.slow
def test_a_training_that_was_asked_for_or_is_the_first_reads_label_studio_first(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    team = Team(keyed_road)
    ids = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(3)])
    for task_id in ids:
        label_studio.annotate(task_id, [region()])
    # No webhook came: so it is after Redis was emptied, too.
    assert team.train(asked=False)["pictures"] == 3, "this ledger was never compared"
    (late,) = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(1, first=9)])
    label_studio.annotate(late, [region()])
    assert team.train(asked=False)["pictures"] == 3, "no webhook came"
    outcome = team.train()
    assert outcome["pictures"] == 4
    assert "unsynced" not in outcome
    label_studio.api_key = "another since"
    outcome = team.train()
    assert (outcome["pictures"], outcome["published"]) == (4, True), "what is known is learned"
    assert "401" in outcome["unsynced"]


@pytest.mark.slow
def test_a_training_by_itself_asks_what_annotations_were_made_from(
    keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    team, label_studio.shows_live = Team(keyed_road), True
    (task_id,) = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(1)])
    shown = label_studio.store(task_id, {"result": [region(60)], "model_version": "v"})
    event = label_studio.annotate(task_id, [region()], parent=shown["id"])
    current().ledger.apply(parse_event(event))
    assert team.train(asked=False)["pictures"] == 1
    (entry,) = current().ledger.entries("1")
    assert entry.shown is not None
    assert entry.shown.prediction_id == entry.parent == shown["id"]

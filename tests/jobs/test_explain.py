"""Explanations on a real Redis, with pictures by HTTP and Label Studio's stand-in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from backend.domain import U8Array
from backend.errors import (
    DeadlinePassed,
    JobError,
    JobRefused,
    ProjectNotFound,
    WorkersMissing,
)
from backend.jobs import explain as explaining
from backend.jobs.explain_requests import (
    EXPLAIN_SCHEMA,
    KEPT_S,
    ExplainCall,
    begin_explaining,
    finish_explaining,
)
from backend.jobs.learner import own_classes, own_learner
from backend.jobs.process import current
from backend.jobs.project_classes import backbone_for
from backend.labelstudio.ranges import NumberRange
from backend.learning.project_head import ProjectHead
from backend.learning.regression import Line, Measure, NumberHead
from backend.settings import Settings
from backend.store.fleet import Fleet, WorkerInfo
from backend.store.heads import NO_HEAD, HeadRef
from backend.store.projects import ProjectStore
from backend.vision.backbones import Backbone
from backend.vision.classes import ClassName
from tests.jobs.conftest import RECTANGLES, Road
from tests.jobs.plain_learner import PlainHead
from tests.jobs.test_train import Team, region
from tests.labelstudio_standin import LabelStudioStandin

CALL = ExplainCall("1", 1, "Thing", "cam")
SKIPPED = RECTANGLES.replace('name="label"', 'name="label" model_skip="true"')


def set_up(road: Road, label_config: str = RECTANGLES) -> None:
    """A project and a worker that is alive."""
    ProjectStore(road.connection).remember_setup(
        "1", label_config=label_config, extra_params={}, hostname=""
    )
    worker = WorkerInfo("w", "host", 1, "cpu", "mobilenet_v2", "ready")
    Fleet(road.connection).beat(worker)


def answer(road: Road, call: ExplainCall = CALL) -> bytes:
    """The picture, with a worker that does everything in between."""
    ticket = begin_explaining(road.connection, road.settings, call)
    road.work()
    return finish_explaining(road.connection, ticket)


def decoded(content: bytes) -> U8Array:
    assert content.startswith(b"\x89PNG")
    image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(image[..., ::-1], np.uint8)


@pytest.fixture
def studio(keyed_road: Road, label_studio: LabelStudioStandin) -> Road:
    """A project of two tasks in Label Studio."""
    set_up(keyed_road)
    label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(2)])
    return keyed_road


def test_the_task_s_picture_is_tinted_and_has_its_box(studio: Road) -> None:
    drawn = decoded(answer(studio))
    assert drawn.shape == (96, 96, 3)
    encoded = np.frombuffer(studio.pictures.pictures["/0.png"], np.uint8)
    picture: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    tint = drawn.astype(int) - picture[..., ::-1].astype(int) // 2
    assert (tint[..., 2] > 100).any(), "blue where the map is low"
    assert (tint[..., 0] > 100).any(), "red where it is high"
    assert (drawn == (255, 64, 64)).all(2).sum() > 40, "the box"
    assert studio.pictures.asked == {"/0.png": 1}


def test_another_label_method_or_task_is_another_picture(studio: Road) -> None:
    calls = [
        CALL,
        replace(CALL, method="gradient"),
        replace(CALL, task_id=2),
        replace(CALL, label=""),
    ]
    assert len({answer(studio, call) for call in calls}) == 4


@pytest.mark.slow
def test_a_drawn_picture_is_kept_a_while_and_not_drawn_again(studio: Road) -> None:
    first = answer(studio)
    ticket = begin_explaining(studio.connection, studio.settings, CALL)
    assert ticket.job_id == ""
    assert ticket.watch().over
    assert finish_explaining(studio.connection, ticket) == first
    (name,) = studio.connection.keys("*explanation:*")
    assert 0 < studio.connection.ttl(name) <= KEPT_S
    studio.connection.delete(name)
    with pytest.raises(DeadlinePassed):
        finish_explaining(studio.connection, ticket)


def test_who_asks_again_waits_for_the_same_job(studio: Road) -> None:
    tickets = [begin_explaining(studio.connection, studio.settings, CALL) for _ in range(3)]
    assert len({ticket.job_id for ticket in tickets}) == 1
    assert studio.waiting("interactive") == 1
    with pytest.raises(DeadlinePassed, match=tickets[0].job_id):
        finish_explaining(studio.connection, tickets[0])
    studio.work()
    contents = {finish_explaining(studio.connection, ticket) for ticket in tickets}
    assert len(contents) == 1


def test_the_job_s_arguments_are_json_and_its_result_is_small(studio: Road) -> None:
    ticket = begin_explaining(studio.connection, studio.settings, CALL)
    studio.work()
    view = studio.dispatcher.job(ticket.job_id)
    size = len(finish_explaining(studio.connection, ticket))
    assert view.outcome == {"bytes": size}
    assert json.dumps(view.outcome)


@pytest.mark.slow
def test_a_new_configuration_makes_a_new_picture(studio: Road) -> None:
    first = answer(studio)
    tighter = RECTANGLES.replace('name="label"', 'name="label" model_threshold="0.9"')
    set_up(studio, tighter)
    assert answer(studio) != first


@pytest.mark.parametrize(
    ("call", "code", "status", "says"),
    [
        pytest.param(replace(CALL, method="cma"), "unknown_name", 422, "named 'cma'", id="method"),
        pytest.param(replace(CALL, label="X"), "unknown_name", 422, "label .* 'X'", id="label"),
        pytest.param(replace(CALL, task_id=9), "task_not_found", 404, "no task 9", id="task"),
    ],
)
@pytest.mark.slow
def test_what_the_worker_finds_wrong_is_told(
    studio: Road, call: ExplainCall, code: str, status: int, says: str
) -> None:
    with pytest.raises(JobRefused, match=says) as refused:
        answer(studio, call)
    assert (refused.value.code, refused.value.status) == (code, status)
    assert refused.value.remedy


def test_a_picture_that_cannot_be_had_is_told(studio: Road) -> None:
    studio.pictures.pictures.clear()
    with pytest.raises(JobRefused) as refused:
        answer(studio)
    assert (refused.value.code, refused.value.status) == ("media_missing", 422)


def test_a_task_of_another_project_is_not_shown(
    studio: Road, label_studio: LabelStudioStandin
) -> None:
    label_studio.add_project(RECTANGLES, 2)
    (task_id,) = label_studio.add_tasks([{"image": studio.pictures.url + "/0.png"}], 2)
    with pytest.raises(JobRefused, match=f"no task {task_id}"):
        answer(studio, replace(CALL, task_id=task_id))


def test_label_studio_away_is_told(studio: Road, label_studio: LabelStudioStandin) -> None:
    label_studio.stop()
    with pytest.raises(JobRefused) as refused:
        answer(studio)
    assert (refused.value.code, refused.value.status) == ("label_studio_unreachable", 502)


def test_nothing_is_left_to_the_model(studio: Road) -> None:
    set_up(studio, SKIPPED)
    with pytest.raises(JobRefused, match="leaves nothing") as refused:
        answer(studio)
    assert refused.value.status == 422


def test_without_a_key_labelled_tasks_are_known(road: Road) -> None:
    set_up(road)
    Team(road).accept(road.pictures.add(1), lambda: [region()])
    assert decoded(answer(road)).shape == (96, 96, 3)
    with pytest.raises(JobRefused, match="LABEL_STUDIO_API_KEY") as refused:
        answer(road, replace(CALL, task_id=2))
    assert (refused.value.code, refused.value.status) == ("task_not_found", 404)


def test_an_unknown_project_and_no_worker_are_told_at_once(road: Road) -> None:
    with pytest.raises(ProjectNotFound):
        begin_explaining(road.connection, road.settings, CALL)
    ProjectStore(road.connection).remember_setup(
        "1", label_config=RECTANGLES, extra_params={}, hostname=""
    )
    with pytest.raises(WorkersMissing):
        begin_explaining(road.connection, road.settings, CALL)
    assert road.waiting() == 0


def test_a_fault_of_the_worker_is_no_refusal(studio: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(explaining, "draw", broken)
    with pytest.raises(JobError, match="could not be drawn") as failed:
        answer(studio)
    assert failed.value.status == 500


def test_another_release_is_told(road: Road) -> None:
    with pytest.raises(JobError, match=f"worker for {EXPLAIN_SCHEMA}"):
        explaining.run({"schema": EXPLAIN_SCHEMA + 1})


@pytest.mark.parametrize("size_hw", [(1, 1), (50, 8000), (2000, 3000)])
def test_a_picture_of_any_size_becomes_a_small_one(studio: Road, size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    studio.pictures.pictures["/0.png"] = bytes(cv2.imencode(".png", noise)[1])
    content = answer(studio)
    height, width = decoded(content).shape[:2]
    assert max(height, width) == min(explaining.SIDE_PX, max(size_hw))
    assert len(content) < 2_000_000


class TestHeads:
    """By which classes a label is explained."""

    @pytest.fixture
    def learned(self, backbone: Backbone) -> Backbone:
        cells = backbone.features(torch.zeros((1, 3, 96, 96), dtype=torch.uint8)).cells_bchw
        weight = torch.randn((2, cells.shape[1]), generator=torch.Generator().manual_seed(3))
        names = (ClassName("", "Thing"), ClassName("", ""))
        return backbone.classifying(weight, torch.zeros(2), names)

    def test_a_label_that_the_head_knows_is_explained_by_it(
        self, road: Road, learned: Backbone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = current()
        asked: list[Any] = []

        def explained_by(backbone: Backbone, head: Any, name: str) -> Backbone:
            asked.append((head, name))
            return learned if name == "Thing" else backbone

        learner = replace(process.learner, explaining=explained_by)
        monkeypatch.setattr(explaining, "current", lambda: replace(process, learner=learner))
        set_up(road)
        team = Team(road)
        team.accept(road.pictures.add(3), lambda: [region()])
        by_network = answer(road)
        assert asked == []
        assert team.train()["published"] is True
        by_head = answer(road)
        assert by_head != by_network
        assert [(type(head), name) for head, name in asked] == [(PlainHead, "Thing")]
        # A label that the head lacks is left to the network.
        assert answer(road, replace(CALL, label="")) != by_head

    def test_no_head_or_one_of_other_weights_changes_nothing(self, road: Road) -> None:
        process = current()
        for pointed in (NO_HEAD, HeadRef(3, "abc", "other")):
            found = backbone_for(
                process.backbone, process.learner, process.heads, "1", pointed, "Thing"
            )
            assert found is process.backbone

    def test_a_head_without_boxes_leaves_the_backbone(
        self, settings: Callable[..., Settings], backbone: Backbone
    ) -> None:
        learner = own_learner(settings())
        assert learner.explaining(backbone, ProjectHead(None, (), False), "Thing") is backbone
        assert own_classes(backbone, object(), "Thing") is backbone

    def test_a_control_of_values_is_explained_by_its_regression(
        self, settings: Callable[..., Settings], backbone: Backbone
    ) -> None:
        channels = backbone.features(torch.zeros((1, 3, 96, 96), dtype=torch.uint8)).cells_bchw
        line = Line(np.ones(channels.shape[1], np.float32), 3.0, 1.0, 5.0)
        stars = Measure("stars", NumberRange(1.0, 5.0, 1.0))
        number = NumberHead(stars, line, np.zeros(1, np.float32))
        head = ProjectHead(None, (), False, (number,))
        found = own_learner(settings()).explaining(backbone, head, "stars")
        assert [one.name for one in found.classes] == ["stars"]

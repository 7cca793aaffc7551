"""Choices on the whole road, with the learning itself on a tiny network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import redis

from backend.jobs.enqueue import Dispatcher
from backend.jobs.lessons import lessons_of
from backend.jobs.process import current
from backend.jobs.warming import warm
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.accepted import AcceptedTask, boxes_digest
from backend.learning.project_head import ProjectHead
from backend.settings import Settings
from backend.vision.backbones import Backbone
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.plain_learner import PlainLearning
from tests.jobs.test_carrier import ANYTHING
from tests.jobs.test_train import Team, region

COLOURS = {"blue": (230, 30, 30), "green": (30, 200, 30), "red": (30, 30, 230)}
CHOICES = """
<View>
  <Image name="image" value="$image"/>
  <Choices name="kind" toName="image">
    <Choice value="blue"/><Choice value="green"/><Choice value="red"/>
  </Choices>
</View>
"""
SEVERAL = CHOICES.replace('toName="image">', 'toName="image" choice="multiple">')
BOTH = CHOICES.replace(
    "<Choices",
    '<RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels><Choices',
    1,
)
SEEN_IN_ANYTHING = ('value="blue"', f'value="blue" predicted_values="{ANYTHING}"')
SEES_BLUE = CHOICES.replace(*SEEN_IN_ANYTHING)
LISTS = """
<View>
  <Image name="image" valueList="$image"/>
  <Choices name="kind" toName="image"{}><Choice value="red"/><Choice value="blue"/></Choices>
</View>
"""


def coloured(served: PictureServer, names: Sequence[str]) -> list[str]:
    """Serve a noisy picture of the mean colour for each name; their addresses."""
    random = np.random.default_rng(len(served.pictures))
    paths = []
    for name in names:
        path = f"/{len(served.pictures)}-{name}.png"
        mean = np.mean([COLOURS[part] for part in name.split("+")], 0)
        noisy = np.clip(random.normal(mean, 12, (96, 96, 3)), 0, 255).astype(np.uint8)
        served.pictures[path] = bytes(cv2.imencode(".png", noisy)[1])
        paths.append(served.url + path)
    return paths


def chosen(*names: str) -> dict[str, Any]:
    return {
        "id": "c", "from_name": "kind", "to_name": "image", "type": "choices",
        "value": {"choices": list(names)},
    }  # fmt: skip


@pytest.fixture
def road(
    settings: Callable[..., Settings],
    connection: redis.Redis,
    pictures: PictureServer,
    backbone: Backbone,
) -> Road:
    own = settings(allowed_hosts=("127.0.0.1",), fetch_threads=2, media_retries=0)
    warm(own, "cpu", connection=connection, backbone=backbone)
    return Road(own, connection, Dispatcher(own, connection), pictures, backbone, PlainLearning())


def answer(team: Team, names: Sequence[str], *more: dict[str, Any]) -> None:
    """One annotation on a new picture for each name, which is the answer too."""
    for name, address in zip(names, coloured(team.road.pictures, names), strict=True):
        regions = [*more, chosen(*name.split("+"))]
        team.accept([address], regions.copy)


def predicted(road: Road, names: Sequence[str], label_config: str) -> list[dict[str, Any]]:
    call = road.call(coloured(road.pictures, names), label_config=label_config, first_id=500)
    return [json.loads(reply or b"") for reply in road.predict(call)]


@pytest.mark.slow
def test_choices_alone_are_learned(road: Road) -> None:
    team = Team(road, CHOICES)
    answer(team, ["blue", "green", "red"] * 4)
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["controls"] == ["kind"]
    assert outcome["labels"] == []
    assert outcome["judged_on"] == outcome["pictures"] == 12
    assert outcome["metrics"] == {"accuracy_kind": pytest.approx(1.0, abs=0.2)}
    head = current().heads.get("1", 1)
    assert isinstance(head, ProjectHead)
    assert (head.boxes, head.controls) == (None, ("kind",))
    for name, prediction in zip(COLOURS, predicted(road, list(COLOURS), CHOICES), strict=True):
        (one,) = prediction["result"]
        assert one["value"]["choices"] == [name]
        assert 1 / 3 < one["score"] <= 1
        assert prediction["model_version"] == outcome["version"]
    again = team.train()
    assert again["published"] is True, "as good as before"
    assert "12 answers right" in again["why"]


@pytest.mark.slow
def test_several_choices_are_learned(road: Road) -> None:
    team = Team(road, SEVERAL)
    answer(team, ["blue", "red", "blue+red", "green"] * 5)
    assert team.train()["published"] is True
    taken = [
        prediction["result"][0]["value"]["choices"] if prediction["result"] else []
        for prediction in predicted(road, ["blue", "red", "green"], SEVERAL)
    ]
    assert ["blue" in taken[0], "red" in taken[1], "green" in taken[2]] == [True] * 3
    assert "red" not in taken[0]


def test_below_the_threshold_nothing_is_offered(road: Road) -> None:
    config = CHOICES.replace('name="kind"', 'name="kind" model_score_threshold="0.9999"')
    team = Team(road, config)
    answer(team, ["blue", "green", "red"] * 2)
    assert team.train()["published"] is True
    assert [one["result"] for one in predicted(road, ["blue"], config)] == [[]]


@pytest.mark.slow
def test_boxes_and_choices_are_learned_together(road: Road) -> None:
    team = Team(road, BOTH)
    answer(team, ["blue", "red"] * 3, region())
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert (outcome["labels"], outcome["controls"]) == (["Thing"], ["kind"])
    assert {"f1_50", "accuracy_kind"} < set(outcome["metrics"])
    (prediction,) = predicted(road, ["red"], BOTH)
    assert {one["from_name"] for one in prediction["result"]} >= {"kind"}


def test_one_answer_alone_teaches_nothing(road: Road) -> None:
    team = Team(road, CHOICES)
    answer(team, ["blue"] * 3)
    outcome = team.train()
    assert outcome["published"] is False
    assert "two answers" in outcome["why"]
    assert team.head == 0


@pytest.mark.slow
def test_answers_that_zero_shot_gives_better_are_left_to_it(road: Road) -> None:
    """Out of fold neither of two pictures can be told; the network sees blue in anything."""
    team = Team(road, SEES_BLUE)
    answer(team, ["blue", "red"])
    outcome = team.train()
    assert outcome["published"] is False
    assert "zero-shot" in outcome["why"]
    assert team.head == 0
    answer(team, ["blue", "red"] * 4)
    assert team.train()["controls"] == ["kind"], "with more answers it is learned"


def test_answers_do_not_hold_up_boxes(road: Road) -> None:
    config = BOTH.replace(*SEEN_IN_ANYTHING)
    team = Team(road, config)
    answer(team, ["blue", "red"], region())
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert (outcome["labels"], outcome["controls"]) == (["Thing"], [])
    (prediction,) = predicted(road, ["red"], config)
    assert [one for one in prediction["result"] if one["from_name"] == "kind"], "the zero-shot way"


@pytest.mark.slow
def test_controls_join_a_head_of_boxes(road: Road) -> None:
    team = Team(road, BOTH)
    team.accept(coloured(road.pictures, ["red"] * 3), lambda: [region()])
    assert team.train()["controls"] == []
    answer(team, ["blue", "red"] * 4, region())
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["controls"] == ["kind"]
    assert "of 8 answers right" in outcome["why"], "held against the zero-shot way"


def test_a_project_without_answers_keeps_its_digests() -> None:
    spec = parse_label_config(BOTH)
    data = {"image": "http://x/1.png"}
    (lesson,) = lessons_of([AcceptedTask(1, data, (), (), {}, True)], spec)
    assert (lesson.digest, lesson.drawn_on) == (boxes_digest(()), True)
    assert [look.control.name for look in lesson.looks] == ["label"]
    told = AcceptedTask(1, data, (), (), {("kind", 0): ("red",)}, True)
    (answered,) = lessons_of([told], spec)
    assert answered.digest != lesson.digest
    assert answered.choices == {"kind": ("red",)}


@pytest.mark.parametrize(
    ("per_item", "images", "choices", "expected"),
    [
        pytest.param("", ["a", "b"], {("kind", 0): ("red",)}, {}, id="one answer to two"),
        pytest.param("", ["a"], {("kind", 0): ("red",)}, {"a": ("red",)}, id="a list of one"),
        pytest.param(
            ' perItem="true"', ["a", "b"], {("kind", 1): ("red",)}, {"b": ("red",)}, id="the second"
        ),
        pytest.param("", ["a"], {}, {}, id="not answered"),
    ],
)
def test_answers_to_lists(
    per_item: str,
    images: list[str],
    choices: dict[tuple[str, int], tuple[str, ...]],
    expected: dict[str, tuple[str, ...]],
) -> None:
    spec = parse_label_config(LISTS.format(per_item))
    task = AcceptedTask(1, {"image": images}, (), (), choices, True)
    lessons = lessons_of([task], spec)
    assert {lesson.address: lesson.choices["kind"] for lesson in lessons} == expected
    assert not any(lesson.drawn_on for lesson in lessons)

"""Ratings and numbers on the whole road, with the learning itself on a tiny network."""

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
from backend.learning.accepted import accepted_digest, accepted_tasks, boxes_digest
from backend.learning.project_head import ProjectHead
from backend.settings import Settings
from backend.vision.backbones import Backbone
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.plain_learner import PlainLearning
from tests.jobs.test_train import Team

VALUES = """
<View>
  <Image name="image" value="$image"/>
  <Rating name="stars" toName="image"/>
  <Number name="metres" toName="image" min="0" max="20" step="0.5"/>
</View>
"""


STARS = np.random.RandomState(3).permutation([1, 2, 3, 4, 5] * 4).tolist()
COIN = np.random.RandomState(4).permutation([0.0, 1.0] * 10).tolist()


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


def lit(served: PictureServer, stars: Sequence[int]) -> list[str]:
    """Serve a noisy picture for each number of stars, the redder the more; their addresses."""
    random = np.random.default_rng(len(served.pictures))
    paths = []
    for level in stars:
        path = f"/{len(served.pictures)}-{level}.png"
        mean = (250 - 45 * level, 60, 45 * level)
        noisy = np.clip(random.normal(mean, 12, (96, 96, 3)), 0, 255).astype(np.uint8)
        served.pictures[path] = bytes(cv2.imencode(".png", noisy)[1])
        paths.append(served.url + path)
    return paths


def said(control: str, kind: str, value: Any) -> dict[str, Any]:
    return {
        "id": control[0], "from_name": control, "to_name": "image", "type": kind,
        "value": {kind: value},
    }  # fmt: skip


def rate(team: Team, stars: Sequence[int], metres: Callable[[int], float | None]) -> None:
    for number, (level, address) in enumerate(
        zip(stars, lit(team.road.pictures, stars), strict=True)
    ):
        regions = [said("stars", "rating", level)]
        if (value := metres(number)) is not None:
            regions.append(said("metres", "number", value))
        team.accept([address], regions.copy)


def predicted(road: Road, stars: Sequence[int], first_id: int) -> list[dict[str, Any]]:
    call = road.call(lit(road.pictures, stars), label_config=VALUES, first_id=first_id)
    return [json.loads(reply or b"") for reply in road.predict(call)]


@pytest.mark.slow
def test_ratings_and_numbers_are_learned(road: Road) -> None:
    (before,) = predicted(road, [3], first_id=400)
    assert before["result"] == [], "nothing is answered that was not learned"
    assert road.learning.extracted == 0
    team = Team(road, VALUES)
    rate(team, STARS, lambda number: 2.5 * STARS[number])
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["controls"] == ["stars", "metres"]
    metrics = outcome["metrics"]
    for control in ("stars", "metres"):
        assert metrics[f"error_{control}"] < 0.7 * metrics[f"error_of_mean_{control}"]
    head = current().heads.get("1", 1)
    assert isinstance(head, ProjectHead)
    assert (head.boxes, head.choices) == (None, ())
    for level, prediction in zip((1, 5), predicted(road, [1, 5], first_id=500), strict=True):
        of_name = {one["from_name"]: one for one in prediction["result"]}
        assert of_name.keys() == {"stars", "metres"}
        assert abs(of_name["stars"]["value"]["rating"] - level) <= 1
        assert abs(of_name["metres"]["value"]["number"] - 2.5 * level) <= 3
        assert prediction["model_version"] == outcome["version"]
        assert 0 < prediction["score"] < 1
    again = team.train()
    assert again["published"] is True, "as good as before"
    assert "answers right" in again["why"]


@pytest.mark.slow
def test_a_value_that_pictures_do_not_show_is_not_answered(road: Road) -> None:
    team = Team(road, VALUES)
    rate(team, STARS, lambda number: COIN[number])
    outcome = team.train()
    assert outcome["controls"] == ["stars"]
    assert outcome["metrics"].keys() >= {"error_metres", "error_of_mean_metres"}, "to be read"
    (prediction,) = predicted(road, [4], first_id=500)
    assert [one["from_name"] for one in prediction["result"]] == ["stars"]


@pytest.mark.slow
def test_nothing_better_than_the_mean_is_not_published(road: Road) -> None:
    team = Team(road, VALUES.replace('<Rating name="stars" toName="image"/>', ""))
    rate(team, [3] * 20, lambda number: COIN[number])
    outcome = team.train()
    assert outcome["published"] is False
    assert "mean of values" in outcome["why"]
    assert team.head == 0


def test_one_value_alone_teaches_nothing(road: Road) -> None:
    team = Team(road, VALUES)
    rate(team, [3] * 3, lambda number: None)
    outcome = team.train()
    assert outcome["published"] is False
    assert "two answers" in outcome["why"]


def test_what_is_read_from_the_ledger(road: Road) -> None:
    """A cleared rating, a value out of range and text are no values."""
    team = Team(road, VALUES)
    answers: list[list[dict[str, Any]]] = [
        [said("stars", "rating", 4), said("metres", "number", 1.5)],
        [said("stars", "rating", 0), said("metres", "number", 21)],
        [said("stars", "rating", "4"), said("metres", "rating", 3)],
    ]
    for number, regions in enumerate(answers, 1):
        team.report(number, f"http://x/{number}", regions, 1)
    spec = parse_label_config(VALUES)
    tasks = accepted_tasks(current().ledger.entries("1"), spec)
    assert [one.numbers for one in tasks] == [{"stars": 4.0, "metres": 1.5}, {}, {}]
    (lesson,) = lessons_of(tasks, spec)
    assert lesson.numbers == {"stars": 4.0, "metres": 1.5}
    assert not lesson.drawn_on
    assert lesson.digest == accepted_digest((), {}, lesson.numbers)


def test_a_changed_value_changes_the_digest() -> None:
    digests = {
        accepted_digest((), {}, numbers) for numbers in ({}, {"a": 1.0}, {"a": 2.0}, {"b": 1.0})
    }
    assert len(digests) == 4
    assert accepted_digest((), {}, {}) == boxes_digest(())

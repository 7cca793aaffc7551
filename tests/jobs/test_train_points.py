"""Key points on the whole road, with the learning itself on a tiny network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import redis

from backend.jobs.addresses import Look
from backend.jobs.answers import LearnedAnswers, needs_look
from backend.jobs.enqueue import Dispatcher
from backend.jobs.process import current
from backend.jobs.sight import objects_wanted
from backend.jobs.warming import warm
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.settings import Settings
from backend.vision.backbones import Backbone
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.plain_learner import PlainLearning
from tests.jobs.test_carrier import ANYTHING
from tests.jobs.test_train import Team
from tests.jobs.test_train import region as drawn_box

POINTS = """
<View>
  <Image name="image" value="$image"/>
  <KeyPointLabels name="part" toName="image">
    <Label value="head"/><Label value="foot"/><Label value="tail"/>
  </KeyPointLabels>
</View>
"""
PAIR = """
<View>
  <Image name="image" value="$image"/>
  <KeyPoint name="at" toName="image"/>
  <Labels name="part" toName="image"><Label value="head"/><Label value="foot"/></Labels>
</View>
"""
BOTH = POINTS.replace(
    "<KeyPoint",
    '<RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels>'
    "<KeyPoint",
    1,
)
SIDE_PX = 160
COLOURS = {"head": (240, 40, 40), "foot": (40, 60, 240)}


class Walkers:
    """Pictures of a red dot with a blue one below it, on rough ground, and where the dots are."""

    def __init__(self, served: PictureServer, seed: int) -> None:
        self._served = served
        self._random = np.random.default_rng(seed)
        self.places: dict[str, dict[str, tuple[float, float]]] = {}

    def add(self) -> str:
        """Serve another one; its address."""
        random = self._random
        rough = random.normal(0, 14, (20, 20, 3)).astype(np.float32)
        canvas = 120 + cv2.resize(rough, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        head = random.uniform((30, 20), (130, 90))
        at = {"head": head, "foot": np.array([head[0], head[1] + 45])}
        for name, (x, y) in at.items():
            cv2.circle(canvas, (round(x), round(y)), 9, COLOURS[name], -1)
        png = cv2.imencode(".png", np.clip(canvas, 0, 255).astype(np.uint8)[..., ::-1])[1]
        path = f"/walker-{len(self._served.pictures)}.png"
        self._served.pictures[path] = bytes(png)
        address = self._served.url + path
        self.places[address] = {name: (float(x), float(y)) for name, (x, y) in at.items()}
        return address

    def regions(self, address: str, *, pair: bool = False) -> list[dict[str, Any]]:
        """The true points, as the editor sends them."""
        found = []
        for name, (x, y) in self.places[address].items():
            common = {
                "id": name, "to_name": "image", "image_rotation": 0,
                "original_width": SIDE_PX, "original_height": SIDE_PX,
            }  # fmt: skip
            at = {"x": 100 * x / SIDE_PX, "y": 100 * y / SIDE_PX, "width": 0.5}
            if pair:
                shape = {"from_name": "at", "type": "keypoint", "value": at}
                label = {"from_name": "part", "type": "labels", "value": {**at, "labels": [name]}}
                found += [common | shape, common | label]
            else:
                value = {**at, "keypointlabels": [name]}
                found.append(common | {"from_name": "part", "type": "keypointlabels"})
                found[-1]["value"] = value
        return found


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


@pytest.fixture
def walkers(pictures: PictureServer) -> Walkers:
    return Walkers(pictures, seed=5)


def predicted(road: Road, addresses: list[str], label_config: str) -> list[dict[str, Any]]:
    call = road.call(addresses, label_config=label_config, first_id=500)
    return [json.loads(reply or b"") for reply in road.predict(call)]


def missed_px(prediction: dict[str, Any], truth: dict[str, tuple[float, float]]) -> list[float]:
    """Distance of each told point from where its part is."""
    found = []
    for region in prediction["result"]:
        if region["type"] == "keypoint":
            continue
        value = region["value"]
        (label,) = value.get("keypointlabels") or value["labels"]
        x, y = truth[label]
        found.append(
            float(np.hypot(value["x"] * SIDE_PX / 100 - x, value["y"] * SIDE_PX / 100 - y))
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True], ids=["labels of their own", "a pair"])
def test_points_are_learned_told_and_better_than_their_mean(
    road: Road, walkers: Walkers, pair: bool
) -> None:
    config = PAIR if pair else POINTS
    team = Team(road, config)
    for _ in range(12):
        address = walkers.add()
        team.accept([address], lambda address=address: walkers.regions(address, pair=pair))  # type: ignore[misc]
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["labels"] == ["foot", "head"], "the tail was never accepted"
    assert outcome["controls"] == []
    assert outcome["metrics"]["pck"] > 0.6 > 0.4 > outcome["metrics"]["pck_of_mean"]
    addresses = [walkers.add() for _ in range(4)]
    missed: list[float] = []
    for address, prediction in zip(addresses, predicted(road, addresses, config), strict=True):
        assert prediction["model_version"] == outcome["version"]
        payload = {key: prediction[key] for key in ("result", "score", "model_version")}
        assert check_prediction(payload, parse_label_config(config), {"image": address}) == []
        missed += missed_px(prediction, walkers.places[address])
    assert len(missed) >= 6
    assert np.median(missed) < 0.05 * SIDE_PX
    again = team.train()
    assert again["published"] is True, "as good as before"
    assert "of 24 key points right" in again["why"]


@pytest.mark.slow
def test_points_and_boxes_are_learned_beside_each_other(road: Road, walkers: Walkers) -> None:
    team = Team(road, BOTH)
    for _ in range(4):
        address = walkers.add()
        regions = [drawn_box(), *walkers.regions(address)]
        team.accept([address], lambda regions=regions: regions)  # type: ignore[misc]
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert set(outcome["labels"]) == {"Thing", "head", "foot"}
    assert {"f1_50", "pck"} < set(outcome["metrics"])
    head = current().heads.get("1", 1)
    assert (head.labels, set(head.point_labels)) == (("Thing",), {"head", "foot"})
    (prediction,) = predicted(road, [walkers.add()], BOTH)
    kinds = {region["type"] for region in prediction["result"]}
    assert kinds == {"rectanglelabels", "keypointlabels"}


def test_an_accepted_picture_without_points_teaches_where_none_are(
    road: Road, walkers: Walkers
) -> None:
    team = Team(road, POINTS)
    team.accept([walkers.add()], list)
    outcome = team.train()
    assert outcome["published"] is False
    assert "No box" in outcome["why"]


def test_without_a_head_a_label_that_names_no_class_is_left_to_people(
    road: Road, walkers: Walkers
) -> None:
    (prediction,) = predicted(road, [walkers.add()], POINTS)
    assert (prediction["result"], prediction["score"]) == ([], 0.0)


def test_without_a_head_a_label_that_names_a_class_gets_a_point(
    road: Road, walkers: Walkers
) -> None:
    config = POINTS.replace('value="tail"', f'value="tail" predicted_values="{ANYTHING}"')
    (prediction,) = predicted(road, [walkers.add()], config)
    (region,) = prediction["result"]
    assert region["value"]["keypointlabels"] == ["tail"]
    # A threshold that nothing reaches leaves it out.
    least = config.replace('name="part"', 'name="part" model_score_threshold="1"')
    (strict,) = predicted(road, [walkers.add()], least)
    assert strict["result"] == []


def test_key_points_alone_want_no_objects() -> None:
    spec = parse_label_config(POINTS)
    assert objects_wanted(spec.active) is None
    assert objects_wanted(parse_label_config(BOTH).active) is not None


@pytest.mark.parametrize(
    ("known", "wanted"), [(("head", "foot", "tail"), False), (("head",), True)]
)
def test_the_network_is_asked_for_labels_that_the_head_does_not_know(
    known: tuple[str, ...], wanted: bool
) -> None:
    control = parse_label_config(POINTS).active[0]
    learned = LearnedAnswers(
        labels=frozenset({"head", "foot", "tail"}),
        few=False,
        controls=frozenset(),
        boxes=[],
        opinions=[],
        numbers=[],
        point_labels=frozenset(known),
    )
    assert needs_look([(Look("a", control, None, control.labels), 0)], learned) is wanted

"""Version 0 by what is known of objects, on a real road with a plain learning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.jobs import sight as sights
from backend.jobs.sight import BESIDE_CAM, Eyes, method_of, objects_wanted
from backend.jobs.versions import ALGORITHM
from backend.labelstudio.labelspec import ControlOptions, parse_label_config
from backend.learning import prior as priors
from backend.vision.detect import DetectOptions
from backend.vision.look import look
from tests.jobs.conftest import RECTANGLES, Road
from tests.jobs.plain_learner import PlainLearning
from tests.jobs.test_carrier import ANYTHING, TWO_CONTROLS
from tests.jobs.test_train import TWO_LABELS, Team, region

CORNER = (0.5, 0.5, 1.0, 1.0)
BY_MAP = RECTANGLES.replace('name="label"', 'name="label" model_saliency="cam"')


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of pictures that went through a forward pass of their own, not for features."""
    counted: list[int] = []

    def counting(backbone: Any, squares_u8: Any) -> Any:
        counted.append(len(squares_u8))
        return look(backbone, squares_u8)

    monkeypatch.setattr(sights, "look", counting)
    return counted


def boxes_of(road: Road, count: int = 1, config: str = RECTANGLES) -> list[list[dict[str, Any]]]:
    """Regions of rectangles that are predicted on new pictures."""
    call = road.call(road.pictures.add(count, first=50), label_config=config, first_id=50)
    return [
        [r for r in json.loads(reply or b"")["result"] if r["type"] == "rectanglelabels"]
        for reply in road.predict(call)
    ]


def place(regions: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    """x, y, width, height in percent."""
    sides = ("x", "y", "width", "height")
    return [tuple(one["value"][side] for side in sides) for one in regions]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(ControlOptions(), "objects", id="nothing said"),
        pytest.param(ControlOptions(saliency="objects"), "objects", id="named"),
        pytest.param(ControlOptions(saliency="gradient"), "gradient", id="another"),
        pytest.param(ControlOptions(box_rule="threshold"), "cam", id="a rule wants a map"),
        pytest.param(ControlOptions(extra={"model_parts": "2"}), "cam", id="so has its option"),
        pytest.param(
            ControlOptions(saliency="objects", box_rule="threshold"), "objects", id="both named"
        ),
    ],
)
def test_the_method_that_a_control_leaves(options: ControlOptions, expected: str) -> None:
    assert method_of(options) == expected


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        pytest.param(RECTANGLES, True, id="boxes"),
        pytest.param(BY_MAP, False, id="by a map"),
        pytest.param(TWO_CONTROLS, True, id="boxes beside choices"),
        pytest.param(
            TWO_CONTROLS.replace('name="label"', 'name="label" model_skip="true"'),
            False,
            id="choices alone",
        ),
    ],
)
def test_which_configurations_want_objects(config: str, wanted: bool) -> None:
    assert (objects_wanted(parse_label_config(config).active) is not None) == wanted


def test_version_0_proposes_objects_from_features_alone(road: Road, passes: list[int]) -> None:
    road.learning.object = CORNER
    first, second = boxes_of(road, 2)
    assert place(first) == place(second) == [(50, 50, 50, 50)]
    assert first[0]["value"]["rectanglelabels"] == ["Thing"]
    assert first[0]["score"] == pytest.approx(0.9)
    assert (passes, road.learning.extracted) == ([], 2)


def test_a_map_that_is_named_is_drawn_as_before(road: Road, passes: list[int]) -> None:
    known = boxes_of(road, config=BY_MAP)
    road.learning.object = CORNER
    road.connection.flushall()
    assert place(boxes_of(road, config=BY_MAP)[0]) == place(known[0]) != [(50, 50, 50, 50)]
    assert (passes, road.learning.extracted) == ([1, 1], 0)


def test_a_backbone_of_which_nothing_is_known_draws_the_map(road: Road) -> None:
    (mapped,) = boxes_of(road, config=BY_MAP)
    (found,) = boxes_of(road)
    assert place(found) == place(mapped) != []


def test_choices_beside_boxes_need_no_further_pass(road: Road, passes: list[int]) -> None:
    road.learning.object = CORNER
    call = road.call(road.pictures.add(1), label_config=TWO_CONTROLS)
    (reply,) = road.predict(call)
    found = {one["from_name"] for one in json.loads(reply or b"")["result"]}
    assert found == {"label", "kind"}
    assert (passes, road.learning.extracted) == ([], 1)


@pytest.mark.slow
def test_labels_that_a_head_lacks_share_its_features(road: Road, passes: list[int]) -> None:
    road.learning.object = CORNER
    # Seen a little, and so no reason to doubt what the head says of its own boxes.
    some = ",".join(ANYTHING.split(",")[::4])
    config = TWO_LABELS.replace('"New"', f'"New" predicted_values="{some}"')
    team = Team(road, config)
    team.accept(road.pictures.add(3), lambda: [region(0, 0, 40)])
    team.train()
    extracted = road.learning.extracted
    (found,) = boxes_of(road, config=config)
    names = [one["value"]["rectanglelabels"] for one in found]
    places = dict(zip((name for (name,) in names), place(found), strict=True))
    assert set(places) == {"Thing", "New"}
    assert places["Thing"] == pytest.approx((0, 0, 40, 40))
    assert places["New"] == pytest.approx((50, 50, 50, 50))
    assert (passes, road.learning.extracted) == ([], extracted + 1)


def test_what_version_0_was_worth_is_judged_by_objects(road: Road, passes: list[int]) -> None:
    road.learning.object = CORNER
    road.learning.spoil = True
    team = Team(road)
    team.accept(road.pictures.add(3), lambda: [region(50, 50, 50)])
    outcome = team.train()
    assert outcome["published"] is False, "version 0 is right on every picture, the head on none"
    assert passes == []


def test_objects_are_sought_beside_the_map_that_the_control_names(road: Road) -> None:
    road.learning.object = CORNER
    boxes_of(road)
    named = ' model_saliency="objects" model_map="norm" model_threshold="0.5"'
    boxes_of(road, config=RECTANGLES.replace("<RectangleLabels", f"<RectangleLabels{named}"))
    assert road.learning.hints == [
        DetectOptions("cam"),
        DetectOptions("norm", extra={"model_threshold": "0.5"}),
    ]


def test_features_are_read_where_objects_are_wanted_and_known(road: Road) -> None:
    knows, does_not = PlainLearning(object=CORNER).learner(), PlainLearning().learner()
    assert Eyes(road.backbone, knows, BESIDE_CAM).reads_features
    assert not Eyes(road.backbone, knows, None).reads_features
    assert not Eyes(road.backbone, does_not, BESIDE_CAM).reads_features


def test_a_new_prior_names_a_new_version() -> None:
    """Version 0 depends on the priors of the release, and its name on ALGORITHM alone."""
    priors._by_name.cache_clear()
    digests = {name: prior.digest for name, prior in priors._by_name().items()}
    assert (ALGORITHM, digests) == (
        4,
        {"embedded": "5819c7fe", "mobilenet_v2": "013acfa0"},
    ), "Other priors give other predictions: raise ALGORITHM, then put both here."


def test_values_without_a_head_need_no_look(road: Road, passes: list[int]) -> None:
    road.learning.object = CORNER
    rating = '<Image name="image" value="$image"/><Rating name="stars" toName="image"/>'
    assert boxes_of(road, config=f"<View>{rating}</View>") == [[]]
    assert (passes, road.learning.extracted) == ([], 0)

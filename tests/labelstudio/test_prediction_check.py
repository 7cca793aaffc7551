"""Our own rules for what may leave the backend."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from tests.labelstudio import broken

SPEC = parse_label_config(broken.CONFIG)
TABLE = broken.DROPPED | broken.OURS


def test_the_good_one_passes() -> None:
    assert check_prediction(broken.GOOD, SPEC, broken.DATA) == []
    assert check_prediction({**broken.GOOD, "result": []}, SPEC, broken.DATA) == []


def test_an_unnamed_rectangle_passes() -> None:
    unnamed = broken.broken("result", 0, "value", "rectanglelabels", [])
    assert check_prediction(unnamed, SPEC, broken.DATA) == []


@pytest.mark.parametrize("name", TABLE)
def test_broken_ones_are_refused(name: str) -> None:
    assert check_prediction(TABLE[name], SPEC, broken.DATA)


@pytest.mark.parametrize("strange", [None, [], "x", 3, {}])
def test_other_json_is_refused(strange: Any) -> None:
    assert check_prediction(strange, SPEC, broken.DATA)


def test_problems_name_the_region_and_what_is_wrong() -> None:
    (problem,) = check_prediction(broken.OURS["negative x"], SPEC, broken.DATA)
    assert problem == "region 0: x -1 and width 30.0 leave the picture or are empty"


LIST = parse_label_config(
    '<View><Image name="img" valueList="$images"/>'
    '<RectangleLabels name="rl" toName="img" value="$names"/></View>'
)


@pytest.mark.parametrize(
    ("item_index", "names", "images", "fine"),
    [
        (0, ["dg"], ["a"], True),
        (1, [{"value": "dg"}], ["a", "b"], True),
        (0, ["dg"], "alone.png", True),
        (1, ["dg"], ["a"], False),
        (-1, ["dg"], ["a"], False),
        (True, ["dg"], ["a", "b"], False),
        (None, ["dg"], ["a"], False),
        (0, ["other"], ["a"], False),
        (0, [], [], False),
    ],
    ids=[
        "first", "second", "lone-address", "beyond", "negative", "truth", "null",
        "not-this-task's-label", "no-pictures",
    ],
)  # fmt: skip
def test_lists_and_labels_of_the_task(item_index: Any, names: Any, images: Any, fine: bool) -> None:
    region = copy.deepcopy(broken.GOOD["result"][0])
    prediction = {**broken.GOOD, "result": [{**region, "item_index": item_index}]}
    problems = check_prediction(prediction, LIST, {"images": images, "names": names})
    assert (problems == []) is fine

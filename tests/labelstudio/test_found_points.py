"""Key points in predictions, written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.domain import Boxes, Points
from backend.errors import UnknownName
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.labelstudio.prediction import (
    FoundBoxes,
    FoundPoints,
    build_prediction,
    check_prediction,
)
from backend.labelstudio.regions import read_regions

SPEC = parse_label_config(
    '<View><Image name="img" value="$image"/><KeyPointLabels name="kp" toName="img">'
    '<Label value="Nose" alias="ns"/><Label value="Ear"/></KeyPointLabels>'
    '<RectangleLabels name="rl" toName="img"><Label value="Nose"/></RectangleLabels></View>'
)
PAIR = parse_label_config(
    '<View><Image name="img" value="$image"/><KeyPoint name="at" toName="img"/>'
    '<Labels name="lb" toName="img"><Label value="Ear"/></Labels></View>'
)
LIST = parse_label_config(
    '<View><Image name="img" valueList="$image"/><KeyPointLabels name="kp" toName="img">'
    '<Label value="Ear"/></KeyPointLabels></View>'
)
DATA = {"image": "a.png"}


def points(*rows: tuple[float, float, float, str]) -> Points:
    """Of a picture 200 wide and 100 high: x y score label."""
    return Points(
        np.array([row[:2] for row in rows], np.float32).reshape(-1, 2),
        np.array([row[2] for row in rows], np.float32),
        tuple(row[3] for row in rows),
        (100, 200),
    )


def build(
    spec: LabelSpec, found: Points, control: str = "kp", item: int | None = None
) -> dict[str, Any]:
    return build_prediction(
        spec,
        [FoundPoints(control, item, found)],
        model_version="net-1-ab",
        region_id_seed="7/net-1-ab",
    )


def test_a_point_is_a_place_in_percent() -> None:
    prediction = build(SPEC, points((50, 25, 0.9, "ns"), (200, 100, 0.4, "Ear")))
    first, second = prediction["result"]
    assert first["value"] == {"x": 25.0, "y": 25.0, "width": 0.75, "keypointlabels": ["ns"]}
    assert second["value"]["x"] == second["value"]["y"] == 100.0
    told = ("from_name", "to_name", "type", "original_width", "original_height", "image_rotation")
    assert [first[key] for key in told] == ["kp", "img", "keypointlabels", 200, 100, 0]
    assert (first["score"], prediction["score"]) == (0.9, 0.4)
    assert check_prediction(prediction, SPEC, DATA) == []


def test_ids_are_stable_and_each_its_own() -> None:
    two = points((50, 25, 0.9, "ns"), (60, 25, 0.9, "ns"))
    first, again = build(SPEC, two), build(SPEC, two)
    assert first == again
    assert len({region["id"] for region in first["result"]}) == 2


def test_what_is_written_is_read_back() -> None:
    found = points((33.3, 66.7, 0.9, "ns"), (0, 0, 0.4, "Ear"))
    read = read_regions(build(SPEC, found)["result"], SPEC)
    assert all(one.is_point for one in read)
    assert [one.label for one in read] == ["ns", "Ear"]
    assert np.array([one.xyxy_px[:2] for one in read]) == pytest.approx(found.xy_px, abs=1e-4)


def test_a_pair_is_a_shape_and_its_label() -> None:
    prediction = build(PAIR, points((50, 25, 0.9, "Ear")), control="lb")
    shape, label = prediction["result"]
    assert shape["value"] == {"x": 25.0, "y": 25.0, "width": 0.75}
    assert label["value"] == {**shape["value"], "labels": ["Ear"]}
    assert (shape["from_name"], shape["type"]) == ("at", "keypoint")
    assert (label["from_name"], label["type"], label["id"]) == ("lb", "labels", shape["id"])
    assert check_prediction(prediction, PAIR, DATA) == []


def test_points_of_a_list_name_their_picture() -> None:
    prediction = build(LIST, points((50, 25, 0.9, "Ear")), item=1)
    assert prediction["result"][0]["item_index"] == 1
    assert check_prediction(prediction, LIST, {"image": ["a", "b"]}) == []


def test_nothing_found() -> None:
    prediction = build(SPEC, Points.empty((100, 200)))
    assert (prediction["result"], prediction["score"]) == ([], 0.0)


def test_boxes_and_points_go_to_controls_of_their_own() -> None:
    with pytest.raises(UnknownName, match="kp"):
        build(SPEC, points((50, 25, 0.9, "Nose")), control="rl")
    with pytest.raises(UnknownName, match="rl"):
        build_prediction(
            SPEC,
            [FoundBoxes("kp", None, Boxes.empty((100, 200)))],
            model_version="v",
            region_id_seed="s",
        )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x": 101}, "x is a number from 0 to 100"),
        ({"y": "50"}, "y is a number from 0 to 100"),
        ({"x": float("nan")}, "x is a number from 0 to 100"),
        ({"width": None}, "width is a number"),
        ({"height": 1}, "has no business with height"),
        ({"keypointlabels": ["Nose"]}, "are not labels of control"),
        ({"keypointlabels": ["ns", "Ear"]}, "takes one label"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], problem: str) -> None:
    prediction = build(SPEC, points((50, 25, 0.9, "ns")))
    prediction["result"][0]["value"] |= change
    assert any(problem in told for told in check_prediction(prediction, SPEC, DATA))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(201, 0, 0.5, "a")], "leave a picture"),
        ([(-1, 0, 0.5, "a")], "leave a picture"),
        ([(float("nan"), 0, 0.5, "a")], "leave a picture"),
        ([(0, 0, 1.5, "a")], "scores leave"),
        ([(0, 0, float("nan"), "a")], "scores leave"),
    ],
)
def test_impossible_points_are_refused(
    rows: list[tuple[float, float, float, str]], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        points(*rows)

"""Finished predictions, written out by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backend.domain import UNNAMED, Boxes
from backend.errors import UnknownName
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.labelstudio.prediction import (
    Found,
    FoundBoxes,
    FoundChoices,
    FoundNumber,
    build_prediction,
    check_prediction,
    region_id,
)

SPEC = parse_label_config(
    '<View><Image name="img" value="$image"/><RectangleLabels name="rl" toName="img">'
    '<Label value="Dog" alias="dg"/></RectangleLabels>'
    '<Choices name="ch" toName="img"><Choice value="day"/><Choice value="night"/></Choices>'
    '<Choices name="off" toName="img" model_skip="1"><Choice value="x"/></Choices></View>'
)
PAIR = parse_label_config(
    '<View><Image name="img" value="$image"/><Rectangle name="re" toName="img"/>'
    '<Labels name="lb" toName="img"><Label value="A"/></Labels></View>'
)
VALUES = parse_label_config(
    '<View><Image name="img" value="$image"/><Rating name="stars" toName="img"/>'
    '<Number name="metres" toName="img" step=".5"/></View>'
)
LIST = parse_label_config(
    '<View><Image name="img" valueList="$images"/><RectangleLabels name="rl" toName="img">'
    '<Label value="A"/></RectangleLabels>'
    '<Choices name="each" toName="img" perItem="true"><Choice value="x"/></Choices>'
    '<Choices name="all" toName="img"><Choice value="x"/><Choice value="y"/></Choices></View>'
)


def boxes(*rows: tuple[float, float, float, float, float, str]) -> Boxes:
    """Of a picture 200 wide and 100 high: x0 y0 x1 y1 score label."""
    return Boxes(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        tuple(row[5] for row in rows),
        (100, 200),
    )


def build(spec: LabelSpec, *found: Found) -> dict[str, object]:
    return build_prediction(spec, found, model_version="net-0-ab", region_id_seed="7/net-0-ab")


def test_nothing_found_is_an_empty_result_with_a_score() -> None:
    nothing = {"result": [], "score": 0.0, "model_version": "net-0-ab"}
    assert build(SPEC) == nothing
    assert (
        build(SPEC, FoundBoxes("rl", None, boxes()), FoundChoices("ch", None, (), 0.5)) == nothing
    )


def test_rectanglelabels_beside_choices() -> None:
    prediction = build(
        SPEC,
        FoundBoxes("rl", None, boxes((20, 20, 80, 60, 0.75, "dg"), (0, 0, 200, 100, 0.5, UNNAMED))),
        FoundChoices("ch", None, ("night",), 0.9),
    )
    common = {
        "from_name": "rl", "to_name": "img", "type": "rectanglelabels",
        "original_width": 200, "original_height": 100, "image_rotation": 0,
    }  # fmt: skip
    assert prediction == {
        "result": [
            {
                **common,
                "id": region_id("7/net-0-ab", "rl", 0, 0),
                "score": 0.75,
                "value": {
                    "x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0,
                    "rectanglelabels": ["dg"],
                },
            },
            {
                **common,
                "id": region_id("7/net-0-ab", "rl", 0, 1),
                "score": 0.5,
                "value": {
                    "x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0, "rotation": 0,
                    "rectanglelabels": [],
                },
            },
            {
                "id": region_id("7/net-0-ab", "ch", 0, 0),
                "from_name": "ch", "to_name": "img", "type": "choices", "score": 0.9,
                "value": {"choices": ["night"]},
            },
        ],
        "score": 0.5,
        "model_version": "net-0-ab",
    }  # fmt: skip
    assert check_prediction(prediction, SPEC, {"image": "a"}) == []


def test_pair_shares_an_id_and_unnamed_is_the_rectangle_alone() -> None:
    found = boxes((20, 20, 80, 60, 0.75, "A"), (0, 0, 20, 10, 0.5, UNNAMED))
    result = build(PAIR, FoundBoxes("lb", None, found))["result"]
    assert isinstance(result, list)
    assert [(r["from_name"], r["type"]) for r in result] == [
        ("re", "rectangle"), ("lb", "labels"), ("re", "rectangle"),
    ]  # fmt: skip
    assert result[0]["id"] == result[1]["id"] != result[2]["id"]
    assert result[1]["value"] == {**result[0]["value"], "labels": ["A"]}


def test_item_index_on_lists_and_one_answer_where_one_is_asked() -> None:
    one = boxes((0, 0, 20, 10, 0.5, "A"))
    prediction = build(
        LIST,
        FoundBoxes("rl", 0, one),
        FoundBoxes("rl", 1, one),
        FoundChoices("each", 0, ("x",), 0.3),
        FoundChoices("each", 1, ("x",), 0.4),
        FoundChoices("all", 0, ("x",), 0.6),
        FoundChoices("all", 1, ("y",), 0.7),
    )
    result = prediction["result"]
    assert isinstance(result, list)
    assert [(r["from_name"], r.get("item_index")) for r in result] == [
        ("rl", 0), ("rl", 1), ("each", 0), ("each", 1), ("all", None),
    ]  # fmt: skip
    assert result[-1]["value"] == {"choices": ["y"]}
    assert len({r["id"] for r in result}) == 5
    assert check_prediction(prediction, LIST, {"images": ["a", "b"]}) == []


def test_values_are_regions_without_geometry() -> None:
    prediction = build(VALUES, FoundNumber("stars", 4.0, 0.75), FoundNumber("metres", 2.5, 0.5))
    assert prediction == {
        "result": [
            {
                "id": region_id("7/net-0-ab", "stars", 0, 0),
                "from_name": "stars", "to_name": "img", "type": "rating", "score": 0.75,
                "value": {"rating": 4},
            },
            {
                "id": region_id("7/net-0-ab", "metres", 0, 0),
                "from_name": "metres", "to_name": "img", "type": "number", "score": 0.5,
                "value": {"number": 2.5},
            },
        ],
        "score": 0.5,
        "model_version": "net-0-ab",
    }  # fmt: skip
    assert type(prediction["result"][0]["value"]["rating"]) is int  # type: ignore[index]
    assert check_prediction(prediction, VALUES, {"image": "a"}) == []
    assert build(VALUES, FoundNumber("stars", None, 0.0))["result"] == []
    with pytest.raises(UnknownName):
        build(VALUES, FoundBoxes("stars", None, boxes()))
    with pytest.raises(UnknownName):
        build(VALUES, FoundChoices("stars", None, ("3",), 0.5))


def test_boxes_without_area_are_left_out_and_shift_no_id() -> None:
    whole = build(SPEC, FoundBoxes("rl", None, boxes((0, 0, 9, 9, 1, "dg"), (1, 1, 9, 9, 1, "dg"))))
    cut = build(SPEC, FoundBoxes("rl", None, boxes((5, 0, 5, 9, 1, "dg"), (1, 1, 9, 9, 1, "dg"))))
    assert isinstance(whole["result"], list)
    assert cut["result"] == whole["result"][1:]


def test_region_ids_are_stable_and_differ_by_place() -> None:
    ids = [
        region_id(seed, control, item, index)
        for seed in ("a", "b")
        for control in ("c", "d")
        for item in (0, 1)
        for index in (0, 1)
    ]
    assert len(set(ids)) == 16
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{10}", one) for one in ids)
    assert region_id("7/v", "rl", 0, 0) == region_id("7/v", "rl", 0, 0)


@pytest.mark.parametrize(
    "found",
    [
        FoundBoxes("gone", None, boxes()),
        FoundBoxes("ch", None, boxes()),
        FoundChoices("rl", None, ("day",), 0.5),
        FoundChoices("off", None, ("x",), 0.5),
        FoundNumber("rl", 3, 0.5),
        FoundNumber("ch", 3, 0.5),
    ],
    ids=[
        "unknown", "boxes-for-choices", "choices-for-boxes", "skipped", "value-for-boxes",
        "value-for-choices",
    ],
)  # fmt: skip
def test_controls_that_cannot_take_it_are_refused(found: Found) -> None:
    with pytest.raises(UnknownName):
        build(SPEC, found)

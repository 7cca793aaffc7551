"""Rectangles between pixels and Label Studio's percent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.domain import UNNAMED, Boxes
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.percent import xyxy_px_to_percent
from backend.labelstudio.prediction import FoundBoxes, build_prediction
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.regions import boxes_of, read_regions

PLAIN = parse_label_config(
    '<View><Image name="img" value="$image"/><RectangleLabels name="rl" toName="img">'
    '<Label value="A"/><Label value="B"/></RectangleLabels></View>'
)
PAIR = parse_label_config(
    '<View><Image name="img" valueList="$images"/><Rectangle name="re" toName="img"/>'
    '<Labels name="lb" toName="img"><Label value="A"/><Label value="B"/></Labels></View>'
)


def region(value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    base = {
        "id": "r1",
        "from_name": "rl",
        "to_name": "img",
        "type": "rectanglelabels",
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "value": {"rotation": 0, "rectanglelabels": ["A"], **value},
    }
    return {key: kept for key, kept in {**base, **changes}.items() if kept is not None}


BOX = {"x": 10, "y": 20, "width": 30, "height": 40}


@pytest.mark.parametrize(
    ("xyxy_px", "expected"),
    [
        ((0, 0, 200, 100), {"x": 0, "y": 0, "width": 100, "height": 100}),
        ((20, 20, 80, 60), {"x": 10, "y": 20, "width": 30, "height": 40}),
        ((-50, -1, 100, 200), {"x": 0, "y": 0, "width": 50, "height": 100}),
        ((20, 20, 20, 60), None),
        ((200, 20, 250, 60), None),
        ((float("nan"), 20, 30, 60), None),
        ((199.9999999, 0, 200, 100), {"x": 99.999999, "y": 0, "width": 1e-06, "height": 100}),
    ],
    ids=["whole", "inside", "beyond", "no-area", "outside", "nan", "sliver-at-the-border"],
)
def test_percent_by_hand(xyxy_px: tuple[float, ...], expected: dict[str, float] | None) -> None:
    assert xyxy_px_to_percent(xyxy_px, (100, 200)) == expected


def test_one_pixel_picture() -> None:
    whole = {"x": 0, "y": 0, "width": 100, "height": 100}
    assert xyxy_px_to_percent((0, 0, 1, 1), (1, 1)) == whole


fraction = st.floats(0, 1, allow_nan=False)
edges = st.tuples(fraction, fraction).map(sorted)
sides = st.integers(1, 20_000)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(height=sides, width=sides, xs=edges, ys=edges, named=st.booleans(), pair=st.booleans())
@example(height=1, width=1, xs=[0.0, 1.0], ys=[0.0, 1.0], named=True, pair=False)
@example(height=20_000, width=19_999, xs=[0.99999, 1.0], ys=[0.3, 1.0], named=False, pair=True)
@example(height=3, width=7, xs=[1 / 3, 1.0], ys=[0.0, 1e-7], named=True, pair=True)
def test_boxes_come_back(
    height: int, width: int, xs: list[float], ys: list[float], named: bool, pair: bool
) -> None:
    spec, name = (PAIR, "lb") if pair else (PLAIN, "rl")
    xyxy = np.array([[xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height]], np.float32)
    xyxy = np.minimum(xyxy, np.array([width, height, width, height], np.float32))
    boxes = Boxes(xyxy, np.array([0.25], np.float32), ("B" if named else UNNAMED,), (height, width))
    prediction = build_prediction(
        spec, [FoundBoxes(name, 1 if pair else None, boxes)], model_version="v", region_id_seed="s"
    )
    data = {"image": "a", "images": ["a", "b"]}
    assert check_prediction(prediction, spec, data) == []
    read = boxes_of(
        read_regions(prediction["result"], spec),
        (height, width),
        control=name,
        item_index=int(pair),
    )
    if xyxy[0, 0] == xyxy[0, 2] or xyxy[0, 1] == xyxy[0, 3]:
        assert len(read) == 0  # nothing to draw
        return
    assert read.label == boxes.label
    assert read.score.tolist() == [0.25]
    assert np.abs(read.xyxy_px.astype(np.float64) - xyxy).max() <= 0.01
    for entry in prediction["result"]:
        value = entry["value"]
        assert value["x"] + value["width"] <= 100
        assert value["y"] + value["height"] <= 100
        assert value["width"] > 0
        assert value["height"] > 0


# Pixels of the 200x100 picture, worked out by hand: 10 % -> 20, 20 % -> 20, 30 % -> 60, 40 % -> 40.
# A quarter turn clockwise about (20, 20) swings the 60x40 rectangle to x -20..20, y 20..80.
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (BOX, (20, 20, 80, 60)),
        ({**BOX, "rotation": None}, (20, 20, 80, 60)),
        ({**BOX, "rotation": 360}, (20, 20, 80, 60)),
        ({**BOX, "x": 50, "rotation": 90}, (60, 20, 100, 80)),
        ({**BOX, "rotation": 90}, (0, 20, 20, 80)),
        ({**BOX, "x": 60, "y": 70, "rotation": 180}, (60, 30, 120, 70)),
        # 45 degrees: width 60 reaches (42.43, 42.43), height 40 reaches (-28.28, 28.28)
        (
            {**BOX, "x": 50, "y": 10, "rotation": 45},
            (100 - 28.2843, 10, 100 + 42.4264, 10 + 70.7107),
        ),
        ({**BOX, "x": -10, "y": -10, "width": 200, "height": 200}, (0, 0, 200, 100)),
    ],
    ids=["plain", "null", "full-turn", "quarter", "quarter-cut", "half", "eighth", "beyond"],
)
def test_reading_understands_rotation(
    value: dict[str, Any], expected: tuple[float, float, float, float]
) -> None:
    (read,) = read_regions([region(value)], PLAIN)
    assert read.xyxy_px == pytest.approx(expected, abs=1e-3)
    assert (read.size_hw, read.label, read.control) == ((100, 200), "A", "rl")


def test_missing_size_is_taken_from_the_caller() -> None:
    sizeless = region(BOX, original_width=None, original_height=None)
    assert read_regions([sizeless], PLAIN) == []
    (read,) = read_regions([sizeless], PLAIN, size_hw=(10, 10))
    assert read.xyxy_px == pytest.approx((1, 2, 4, 6))


@pytest.mark.parametrize(
    "strange",
    [
        None,
        {},
        "text",
        [None, 3, "x", []],
        [region({**BOX, "x": "10"})],
        [region({**BOX, "x": True})],
        [region({**BOX, "x": float("nan")})],
        [region({**BOX, "x": 10**400})],
        [region({**BOX, "width": 0})],
        [region({**BOX, "x": 150})],
        [region(BOX, from_name="gone")],
        [region(BOX, type="ellipselabels")],
        [{**region(BOX), "value": [1]}],
        [region(BOX, image_rotation=90)],
        [region(BOX, original_width=0)],
    ],
)  # fmt: skip
def test_strange_regions_are_left_out(strange: Any) -> None:
    assert read_regions(strange, PLAIN) == []


def test_origin_score_and_unknown_label_are_kept_as_found() -> None:
    changed = region(
        {**BOX, "rectanglelabels": ["Gone"]}, origin="prediction-changed", score=1.4, item_index=2
    )
    (read,) = read_regions([changed], PLAIN)
    assert (read.origin, read.score, read.label, read.item_index) == (
        "prediction-changed", 1.0, "Gone", 2,
    )  # fmt: skip
    (unnamed,) = read_regions([region({**BOX, "rectanglelabels": []})], PLAIN)
    assert (unnamed.label, unnamed.score) == (UNNAMED, None)


def test_pairs_are_joined_by_id() -> None:
    geometry = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0}
    size = {"original_width": 200, "original_height": 100}
    result = [
        {"id": "b", "from_name": "lb", "type": "labels", **size, "value": {**BOX, "labels": ["B"]}},
        {"id": "a", "from_name": "re", "type": "rectangle", **size, "value": geometry},
        {"id": "b", "from_name": "re", "type": "rectangle", **size, "value": geometry},
        {"id": "c", "from_name": "lb", "type": "labels", **size, "value": {**BOX, "labels": ["A"]}},
        {"id": "d", "from_name": "other", "type": "rectangle", **size, "value": geometry},
    ]
    read = read_regions(result, PAIR)
    assert [(r.id, r.label, r.xyxy_px) for r in read] == [
        ("b", "B", (0, 0, 100, 50)),  # the rectangle's place, not the stale one of its labels
        ("a", UNNAMED, (0, 0, 100, 50)),
        ("c", "A", (20, 20, 80, 60)),  # its rectangle is missing
    ]


def test_no_region_gives_no_boxes() -> None:
    boxes = boxes_of([], (5, 6), control="rl")
    assert (len(boxes), boxes.size_hw) == (0, (5, 6))


def test_a_box_at_the_border_never_exceeds_100_in_floating_point() -> None:
    for start_px in range(0, 20_000, 7):
        percent = xyxy_px_to_percent((start_px, 0, 20_000, 1), (1, 20_000))
        assert percent is not None
        assert percent["x"] + percent["width"] == 100

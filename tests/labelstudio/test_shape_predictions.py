"""Predictions of every shape: built, checked, and what the check refuses."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from backend.domain import UNNAMED, Boxes
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction import FoundBoxes, build_prediction
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.regions import read_regions

DATA = {"image": "a.png"}
SIZE_HW = (100, 200)
TRIANGLE = np.array([[20, 10], [60, 10], [40, 50]], np.float32)
LEFT = np.arange(20)[None].repeat(10, 0) < 6
SHAPES = ("Rectangle", "Polygon", "Brush", "Ellipse")


def config(shape: str, *, paired: bool) -> str:
    label = '<Label value="Dog" alias="dg"/>'
    control = f'<{shape}Labels name="out" toName="img">{label}</{shape}Labels>'
    if paired:
        control = (
            f'<{shape} name="geo" toName="img"/><Labels name="out" toName="img">{label}</Labels>'
        )
    return f'<View><Image name="img" value="$image"/>{control}</View>'


def built(shape: str, *, paired: bool = False, label: str = "dg") -> dict[str, Any]:
    boxes = Boxes(
        np.array([[20, 10, 60, 50]], np.float32), np.array([0.5], np.float32), (label,), SIZE_HW
    )
    found = FoundBoxes("out", None, boxes)
    if shape == "Polygon":
        found = FoundBoxes("out", None, boxes, polygons_px=(TRIANGLE,))
    if shape == "Brush":
        found = FoundBoxes("out", None, boxes, masks_hw=(LEFT,))
    spec = parse_label_config(config(shape, paired=paired))
    return build_prediction(spec, [found], model_version="v", region_id_seed="1")


@pytest.mark.parametrize("paired", [False, True], ids=["labelled", "paired"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_built_passes_and_is_read_again(shape: str, paired: bool) -> None:
    spec = parse_label_config(config(shape, paired=paired))
    for label in ("dg", UNNAMED):
        prediction = built(shape, paired=paired, label=label)
        assert check_prediction(prediction, spec, DATA) == []
        kind = shape.lower() if paired else f"{shape.lower()}labels"
        types = [region["type"] for region in prediction["result"]]
        assert types == ([kind, "labels"] if paired and label else [kind])
        (read,) = read_regions(prediction["result"], spec)
        assert (read.label, read.score) == (label, 0.5)
        wanted = (0, 0, 60, 100) if shape == "Brush" else (20, 10, 60, 50)
        np.testing.assert_allclose(read.xyxy_px, wanted, atol=0.5)
        drawn = read.drawn
        assert drawn is not None
        if shape == "Polygon":
            assert drawn.polygon_px is not None
            assert np.abs(drawn.polygon_px - TRIANGLE).max() < 1e-3
        if shape == "Brush":
            assert drawn.mask_hw is not None
            assert drawn.mask_hw.mean() == pytest.approx(LEFT.mean(), abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_without_area_is_no_region(shape: str) -> None:
    spec = parse_label_config(config(shape, paired=False))
    nothing = Boxes(np.array([[5, 5, 5, 9]], np.float32), np.ones(1, np.float32), ("dg",), SIZE_HW)
    found = FoundBoxes("out", None, nothing, (TRIANGLE,), (LEFT,))
    prediction = build_prediction(spec, [found], model_version="v", region_id_seed="1")
    assert prediction["result"] == []


REMOVED = "<removed>"
BROKEN: list[tuple[str, str, Any]] = [
    ("Polygon", "points", [[1, 1], [2, 2]]),
    ("Polygon", "points", [[1, 1], [2, 2], [3, 101]]),
    ("Polygon", "points", [[1, 1], [2, 2], [3, -1]]),
    ("Polygon", "points", [[1, 1], [2, 2], [3, float("nan")]]),
    ("Polygon", "points", [[1, 1], [2, 2], [3, "4"]]),
    ("Polygon", "points", [(1, 1), (2, 2), (3, 4)]),
    ("Polygon", "points", REMOVED),
    ("Polygon", "closed", False),
    ("Polygon", "closed", REMOVED),
    ("Polygon", "rotation", 0),
    ("Polygon", "polygonlabels", ["Dog"]),
    ("Brush", "rle", [1.5]),
    ("Brush", "rle", [256]),
    ("Brush", "rle", [-1]),
    ("Brush", "rle", [True]),
    ("Brush", "rle", "0"),
    ("Brush", "rle", REMOVED),
    ("Brush", "format", "png"),
    ("Brush", "brushlabels", REMOVED),
    ("Ellipse", "radiusX", 0),
    ("Ellipse", "radiusY", 101),
    ("Ellipse", "x", -1),
    ("Ellipse", "y", "5"),
    ("Ellipse", "rotation", None),
    ("Ellipse", "width", 5),
    ("Ellipse", "ellipselabels", ["cat"]),
]


@pytest.mark.parametrize(("shape", "key", "value"), BROKEN, ids=str)
def test_what_is_broken_is_refused(shape: str, key: str, value: Any) -> None:
    prediction = copy.deepcopy(built(shape))
    geometry = prediction["result"][0]["value"]
    if value is REMOVED:
        del geometry[key]
    else:
        geometry[key] = value
    spec = parse_label_config(config(shape, paired=False))
    (problem, *_) = check_prediction(prediction, spec, DATA)
    assert problem.startswith("region 0: ")


@pytest.mark.parametrize("shape", SHAPES)
def test_labels_of_another_shape_than_the_region_are_refused(shape: str) -> None:
    prediction = built(shape, paired=True)
    other = next(iter(prediction["result"][1]["value"]))
    prediction["result"][1]["value"] = copy.deepcopy(prediction["result"][1]["value"])
    changed = {"points": [[0, 0], [9, 0], [9, 9]], "format": "rle", "x": 1.5}[other]
    prediction["result"][1]["value"][other] = changed
    if other == "format":
        prediction["result"][1]["value"]["rle"] = [0, 0]
    spec = parse_label_config(config(shape, paired=True))
    (problem,) = check_prediction(prediction, spec, DATA)
    assert "have no shape of the same id and place" in problem

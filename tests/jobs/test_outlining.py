"""Polygons, masks and ellipses: predicted, accepted, asked for, on a real Redis."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from backend.domain import BoolArray, FloatArray
from backend.jobs.process import current
from backend.labelstudio.brush_rle import encode_mask
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.regions import ReadRegion, read_regions
from backend.vision.likeness import F64Array
from backend.vision.outlines import MASK_SIDE, filled
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road
from tests.jobs.test_train import Team

SIDE = 96
IMAGE = '<Image name="image" value="$image"/>'
LABEL = '<Label value="Thing"/>'
SIZE = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}


def of(tag: str, name: str = "out", attributes: str = "") -> str:
    return f'<{tag} name="{name}" toName="image" {attributes}>{LABEL}</{tag}>'


def config(*parts: str) -> str:
    return f"<View>{IMAGE}{''.join(parts)}</View>"


PAIRED = '<{0} name="shape" toName="image"/>' + of("Labels")
SHAPES = {
    "polygonlabels": config(of("PolygonLabels")),
    "brushlabels": config(of("BrushLabels")),
    "ellipselabels": config(of("EllipseLabels")),
    "polygon": config(PAIRED.format("Polygon")),
    "brush": config(PAIRED.format("Brush")),
    "ellipse": config(PAIRED.format("Ellipse")),
}


def disc(road: Road, path: str = "/0.png") -> BoolArray:
    """The bright disc that the picture server draws."""
    bgr = cv2.imdecode(np.frombuffer(road.pictures.pictures[path], np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[..., 2] > 150)


def hull(mask: BoolArray) -> tuple[float, float, float, float]:
    y, x = np.nonzero(mask)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / (one | other).sum())


def mask_of(region: ReadRegion) -> BoolArray:
    assert region.drawn is not None
    if region.drawn.mask_hw is not None:
        return region.drawn.mask_hw
    assert region.drawn.polygon_px is not None
    return filled(region.drawn.polygon_px, region.size_hw)


def predicted(road: Road, label_config: str, address: str) -> dict[str, Any]:
    call = road.call([address], label_config=label_config)
    (reply,) = road.predict(call)
    found: dict[str, Any] = json.loads(reply or b"null")
    assert check_prediction(found, parse_label_config(label_config), {"image": address}) == []
    return found


@pytest.fixture
def seeing(make_road: MakeRoad) -> Road:
    """A road that knows where the disc of the first picture is."""
    road = make_road()
    road.pictures.add(1)
    road.learning.object = [edge / SIDE for edge in hull(disc(road))]
    return road


@pytest.mark.parametrize("kind", SHAPES)
def test_each_shape_follows_the_thing(seeing: Road, kind: str) -> None:
    address = f"{seeing.pictures.url}/0.png"
    prediction = predicted(seeing, SHAPES[kind], address)
    types = [region["type"] for region in prediction["result"]]
    assert types == [kind] if kind.endswith("labels") else [kind, "labels"]
    (read,) = read_regions(prediction["result"], parse_label_config(SHAPES[kind]))
    assert read.label == "Thing"
    assert iou(mask_of(read), disc(seeing)) > 0.85
    follows = not kind.startswith("ellipse")
    assert seeing.learning.traced == int(follows)
    assert ("outlines" in stages()) is follows


def test_rectangles_pay_nothing(seeing: Road) -> None:
    predicted(seeing, RECTANGLES, f"{seeing.pictures.url}/0.png")
    assert seeing.learning.traced == 0
    assert "outlines" not in stages()


def stages() -> set[str]:
    """What work was counted."""
    told = current().counters.read()
    return {dict(labels)["stage"] for name, labels in told if name == "stage_ms"}


def left_half(cells_chw: FloatArray, values_hw: FloatArray, box: F64Array) -> FloatArray:
    """A form by which things fill the left half of what is looked at."""
    return np.repeat([0.999, 0.001], 8)[None].repeat(16, 0).astype(np.float32)


def test_a_head_that_knows_the_form_draws_by_it(seeing: Road) -> None:
    address = f"{seeing.pictures.url}/0.png"
    team = Team(seeing, SHAPES["brushlabels"])
    team.accept([address, *seeing.pictures.add(2, 1)], lambda: [painted(disc(seeing))])
    assert team.train()["published"] is True
    (plain,) = read_regions(predicted(seeing, SHAPES["brushlabels"], address)["result"], SPEC)
    seeing.learning.form = left_half
    seeing.pictures.pictures["/again.png"] = seeing.pictures.pictures["/0.png"]
    again = predicted(seeing, SHAPES["brushlabels"], f"{seeing.pictures.url}/again.png")
    (formed,) = read_regions(again["result"], SPEC)
    x0, _, x1, _ = hull(disc(seeing))
    middle = round((x0 + x1) / 2)
    assert mask_of(plain)[:, middle + 4 :].any()
    assert not mask_of(formed)[:, middle + 4 :].any()


SPEC = parse_label_config(SHAPES["brushlabels"])


def painted(mask: BoolArray, **changes: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_mask(mask), "brushlabels": ["Thing"]}
    return {
        "id": "r", "from_name": "out", "to_name": "image", "type": "brushlabels", **SIZE,
        "value": value,
    } | changes  # fmt: skip


def polygon(*points: tuple[float, float], name: str = "out") -> dict[str, Any]:
    value = {"points": [list(one) for one in points], "closed": True, "polygonlabels": ["Thing"]}
    return {
        "id": "r", "from_name": name, "to_name": "image", "type": "polygonlabels", **SIZE,
        "value": value,
    }  # fmt: skip


def ellipse(x: float, y: float, radius: float) -> dict[str, Any]:
    value = {"x": x, "y": y, "radiusX": radius, "radiusY": radius, "rotation": 0}
    return {
        "id": "r", "from_name": "out", "to_name": "image", "type": "ellipselabels", **SIZE,
        "value": {**value, "ellipselabels": ["Thing"]},
    }  # fmt: skip


def test_accepted_shapes_reach_the_fit_as_masks(road: Road) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[24:72, 24:48] = True
    cases = [
        (SHAPES["brushlabels"], painted(mask), mask, (24, 24, 48, 72)),
        (
            SHAPES["polygonlabels"],
            polygon((25, 25), (50, 25), (50, 75), (25, 75)),
            mask,
            (24, 24, 48, 72),
        ),
        (
            SHAPES["ellipselabels"],
            ellipse(50, 50, 25),
            np.hypot(*(np.indices((SIDE, SIDE)) + 0.5 - 48)) < 24,
            (24, 24, 72, 72),
        ),
    ]
    for at, (label_config, region, wanted, box) in enumerate(cases):
        team = Team(road, label_config)
        for number, address in enumerate(road.pictures.add(2, 2 * at)):
            team.report(number + 1, address, [region], at + 1)
        team.train()
        for example in road.learning.taught:
            np.testing.assert_allclose(example.boxes.xyxy_px, [box], atol=0.5)
            (kept,) = example.masks_hw
            assert kept is not None
            assert kept.shape == (SIDE, SIDE)
            assert iou(kept, wanted) > 0.95


def test_rectangles_have_no_masks_and_large_masks_become_small(road: Road) -> None:
    team = Team(road, RECTANGLES)
    rectangle = {
        "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels", **SIZE,
        "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["Thing"]},
    }  # fmt: skip
    team.accept(road.pictures.add(1), lambda: [rectangle])
    team.train()
    assert [example.masks_hw for example in road.learning.taught] == [()]
    large = np.zeros((800, 400), bool)
    large[:400] = True
    team = Team(road, SHAPES["brushlabels"])
    region = painted(large, original_width=400, original_height=800)
    team.report(1, road.pictures.add(1, 5)[0], [region], 2)
    team.train()
    (example,) = road.learning.taught
    (kept,) = example.masks_hw
    assert kept is not None
    assert kept.shape == (MASK_SIDE, MASK_SIDE // 2)
    assert kept.mean() == 0.5


# ---- while an annotator waits

POINTS = (
    '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Thing"/></KeyPointLabels>'
)
SMART = 'smart="true"'


def click(x_px: float, y_px: float, **changes: Any) -> dict[str, Any]:
    place = {"x": 100 * x_px / SIDE, "y": 100 * y_px / SIDE, "width": 0.3}
    return {
        "id": "c", "from_name": "kp", "to_name": "image", "type": "keypointlabels", **SIZE,
        "value": {**place, "keypointlabels": ["Thing"]}, "is_positive": True,
    } | changes  # fmt: skip


def asked(
    road: Road, label_config: str, *regions: dict[str, Any], earlier: Any = ()
) -> list[ReadRegion]:
    """What one interactive call with a worker gives."""
    address = f"{road.pictures.url}/0.png"
    call = road.call([address], label_config=label_config, queue_name="interactive")
    context = {"result": list(regions), "earlier": list(earlier)}
    (reply,) = road.predict(replace(call, context=context))
    prediction = json.loads(reply or b"null")
    spec = parse_label_config(label_config)
    assert check_prediction(prediction, spec, {"image": address}) == []
    return read_regions(prediction["result"], spec)


@pytest.mark.parametrize("tag", ["PolygonLabels", "BrushLabels", "EllipseLabels"])
@pytest.mark.parametrize("by", ["click", "itself", "rectangle"])
def test_the_control_that_takes_the_answer_decides_its_shape(
    seeing: Road, tag: str, by: str
) -> None:
    x0, y0, x1, y1 = hull(disc(seeing))
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    share = [(100 * x / SIDE, 100 * y / SIDE) for x, y in corners]
    box = {"x": share[0][0], "y": share[0][1], "width": 40, "height": 40, "rotation": 0}
    rough = of("RectangleLabels", "rough", SMART + ' model_skip="true"')
    marks = {
        "click": (POINTS, click((x0 + x1) / 2, (y0 + y1) / 2)),
        "itself": (
            of("PolygonLabels", "rough", SMART + ' model_skip="true"'),
            polygon(*share, name="rough"),
        ),
        "rectangle": (
            rough,
            click(0, 0)
            | {"from_name": "rough", "type": "rectanglelabels"}
            | {"value": {**box, "rectanglelabels": ["Thing"]}},
        ),
    }
    part, mark = marks[by]
    (found,) = asked(seeing, config(part, of(tag)), mark)
    assert (found.control, found.label) == ("out", "Thing")
    assert found.drawn is not None
    assert (found.drawn.mask_hw is not None) is (tag == "BrushLabels")
    assert iou(mask_of(found), disc(seeing)) > 0.6


def test_a_learned_form_answers_too_unless_told_what_it_is_not(seeing: Road) -> None:
    address = f"{seeing.pictures.url}/0.png"
    label_config = config(POINTS, of("BrushLabels"))
    team = Team(seeing, label_config)
    team.accept([address, *seeing.pictures.add(2, 1)], lambda: [painted(disc(seeing))])
    assert team.train()["published"] is True
    x0, y0, x1, y1 = hull(disc(seeing))
    centre = click((x0 + x1) / 2, (y0 + y1) / 2)
    (plain,) = asked(seeing, label_config, centre)
    seeing.learning.form = left_half
    away = click(1, 1, is_positive=False)
    (unformed,) = asked(seeing, label_config, centre, away)
    moved = click((x0 + x1) / 2 + 1, (y0 + y1) / 2)
    (formed,) = asked(seeing, label_config, moved)
    assert iou(mask_of(plain), mask_of(unformed)) > 0.6
    assert mask_of(formed).sum() < 0.8 * mask_of(plain).sum()


def test_what_is_drawn_already_is_not_given_again(seeing: Road) -> None:
    x0, y0, x1, y1 = hull(disc(seeing))
    label_config = config(POINTS, of("RectangleLabels"))
    centre = click((x0 + x1) / 2, (y0 + y1) / 2)
    (found,) = asked(seeing, label_config, centre)
    value = {
        "x": 100 * found.xyxy_px[0] / SIDE,
        "y": 100 * found.xyxy_px[1] / SIDE,
        "width": 100 * (found.xyxy_px[2] - found.xyxy_px[0]) / SIDE,
        "height": 100 * (found.xyxy_px[3] - found.xyxy_px[1]) / SIDE,
        "rotation": 0,
        "rectanglelabels": ["Thing"],
    }
    drawn = click(0, 0) | {"id": "d", "from_name": "out", "type": "rectanglelabels", "value": value}
    assert asked(seeing, label_config, centre, earlier=[drawn]) == []
    small = drawn | {"value": {**value, "width": 3, "height": 3}}
    (other,) = asked(seeing, label_config, centre, earlier=[small])
    assert other.xyxy_px == pytest.approx(found.xyxy_px, abs=6)

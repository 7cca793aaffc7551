"""Maps become boxes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import UNNAMED, FloatArray, iou_matrix
from backend.errors import LabelConfigInvalid
from backend.vision import boxes
from backend.vision.boxes.components import component_boxes, contrast
from backend.vision.boxes.quantile_grabcut import GrabCutOptions
from backend.vision.boxes.threshold import ThresholdOptions
from backend.vision.options import read_options
from tests.vision.conftest import as_picture, drawn_picture


def blank(size_hw: tuple[int, int] = (40, 80)) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((*size_hw, 3), np.uint8)


def bump(size_hw: tuple[int, int], *cells: tuple[int, int, float]) -> FloatArray:
    values = np.zeros(size_hw, np.float32)
    for y, x, value in cells:
        values[y, x] = value
    return values


def test_components_by_hand() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], np.bool_)
    found, areas = component_boxes(mask)
    assert areas.tolist() == [3, 2]
    assert found.tolist() == [[3, 0, 4, 3], [0, 0, 2, 2]]
    nothing, no_areas = component_boxes(np.zeros((2, 2), np.bool_))
    assert nothing.shape == (0, 4)
    assert no_areas.shape == (0,)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # inside (1 + .5) / 2 = .75, outside .5 / 2 = .25
        pytest.param([0, 0, 2, 1], 0.5, id="half"),
        pytest.param([0, 0, 2, 2], 0.5, id="all-of-it-compared-with-zero"),
        pytest.param([0, 1, 1, 2], 0.0, id="lower-inside-is-zero-not-negative"),
        pytest.param([1, 1, 1, 1], 0.0, id="empty-box"),
    ],
)
def test_contrast(box: list[int], expected: float) -> None:
    values = np.array([[1.0, 0.5], [0.0, 0.5]], np.float32)
    assert contrast(values, np.array(box, np.float32)) == pytest.approx(expected)


@pytest.mark.parametrize("name", boxes.names())
def test_a_zero_map_has_no_box(name: str) -> None:
    found = boxes.get(name)(np.zeros((4, 4), np.float32), as_picture(blank()), {})
    assert len(found) == 0
    assert found.size_hw == (40, 80)


@pytest.mark.parametrize("name", boxes.names())
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (3, 2), (8000, 50)], ids=str)
def test_pictures_of_any_shape(name: str, size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0)
    rgb = noise.integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    for side in (1, 2, 9, 64):
        values = noise.random((side, side)).astype(np.float32)
        found = boxes.get(name)(values / values.max(), as_picture(rgb), {})
        assert found.size_hw == size_hw
        assert len(found) <= 1


@pytest.mark.parametrize("colour", [0, 255])
def test_grabcut_on_a_single_colour_falls_back_to_the_map(colour: int) -> None:
    values = np.zeros((40, 40), np.float32)
    values[10:20, 20:30] = 1
    found = boxes.get("quantile_grabcut")(
        values, as_picture(np.full((40, 40, 3), colour, np.uint8)), {"smoothing": "0"}
    )
    assert len(found) == 1
    assert found.xyxy_px[0].tolist() == [20, 10, 30, 20]


def test_threshold_box_round_a_bright_cell() -> None:
    # A cell of 1 in a 4 x 4 map of zeros, cut at half: linear interpolation reaches .5
    # half a cell beyond the cell's centre, so the box is one cell wide.
    found = boxes.get("threshold")(
        bump((4, 4), (1, 2, 1.0)), as_picture(blank()), {"threshold": "0.5"}
    )
    assert found.label == (UNNAMED,)
    np.testing.assert_allclose(found.xyxy_px[0], [40, 10, 60, 20], atol=1.0)
    assert 0.5 < float(found.score[0]) <= 1


def test_threshold_takes_the_largest_part_or_several() -> None:
    values = bump((8, 8), (1, 1, 0.8), (1, 2, 0.8), (6, 6, 1.0))
    picture = as_picture(blank((80, 80)))
    rule = boxes.get("threshold")
    alone = rule(values, picture, {})
    assert len(alone) == 1
    assert alone.xyxy_px[0, 0] < 30  # the wider of the two, though the other is brighter
    assert len(rule(values, picture, {"model_parts": "3"})) == 2
    assert len(rule(values, picture, {"model_parts": "3", "model_min_part": "0.9"})) == 1
    assert len(rule(values, picture, {"min_area": "0.5"})) == 0


def test_grabcut_draws_one_box_round_a_drawn_object() -> None:
    box = (50, 30, 110, 90)
    picture = drawn_picture(box=box)
    # A blurred spot, smaller than the object and off its centre.
    y, x = np.mgrid[:64, :64].astype(np.float32)
    values = np.exp(-((x - 64 * 75 / 160) ** 2 + (y - 64 * 55 / 120) ** 2) / 60)
    values = values.astype(np.float32)
    rule = boxes.get("quantile_grabcut")
    found = rule(values, picture, {})
    assert len(found) == 1
    truth = np.array([box], np.float32)
    assert iou_matrix(found.xyxy_px, truth)[0, 0] > 0.9
    again = rule(values, picture, {})
    assert found.xyxy_px.tolist() == again.xyxy_px.tolist()

    # A margin of a fifth of the sides, a tenth to each side.
    grown = rule(values, picture, {"model_dilation": "0.2"})
    side = found.xyxy_px[0, 2:] - found.xyxy_px[0, :2]
    np.testing.assert_allclose(grown.xyxy_px[0, :2], found.xyxy_px[0, :2] - side / 10, atol=1e-3)
    np.testing.assert_allclose(grown.xyxy_px[0, 2:], found.xyxy_px[0, 2:] + side / 10, atol=1e-3)


def test_options_default_and_are_read_with_or_without_prefix() -> None:
    assert read_options(ThresholdOptions, {}) == ThresholdOptions()
    assert read_options(ThresholdOptions, {"threshold": "0.5", "other": "x"}).threshold == 0.5
    assert read_options(GrabCutOptions, {"model_iterations": "7"}).iterations == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"threshold": "high"}, "Give a number from 0.01 to 1."),
        ({"threshold": "0"}, "Give a number from 0.01 to 1."),
        ({"threshold": "nan"}, "Give a number from 0.01 to 1."),
        ({"parts": "1.5"}, "Give a whole number from 1 to 100."),
    ],
    ids=str,
)
def test_options_that_cannot_be_used(text: dict[str, str], message: str) -> None:
    with pytest.raises(LabelConfigInvalid) as caught:
        read_options(ThresholdOptions, text)
    assert caught.value.remedy == message

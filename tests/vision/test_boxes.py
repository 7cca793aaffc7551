"""Maps become boxes, by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import pytest

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, Picture, iou_matrix
from backend.errors import LabelConfigInvalid
from backend.vision import boxes
from backend.vision.boxes.components import component_boxes, contrast, largest_part
from backend.vision.boxes.levels import SHARES, Calibration, best_share, calibrated, fits
from backend.vision.boxes.multi_level import MultiLevelOptions, explained
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


def rule_of(name: str) -> Callable[[FloatArray, Picture, Mapping[str, str]], Boxes]:
    """A rule for one map at a time."""

    def draw(values: FloatArray, picture: Picture, given: Mapping[str, str]) -> Boxes:
        (found,) = boxes.get(name)([values], [picture], given)
        return found

    return draw


def test_components_by_hand() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], np.bool_)
    found, areas = component_boxes(mask)
    assert areas.tolist() == [3, 2]
    assert found.tolist() == [[3, 0, 4, 3], [0, 0, 2, 2]]
    nothing, no_areas = component_boxes(np.zeros((2, 2), np.bool_))
    assert nothing.shape == (0, 4)
    assert no_areas.shape == (0,)


def plain_components(mask: BoolArray) -> list[tuple[list[int], int]]:
    """Box and area of each part, by walking from cell to cell."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        ys, xs = [y for y, _ in part], [x for _, x in part]
        found.append(([min(xs), min(ys), max(xs) + 1, max(ys) + 1], len(part)))
    return sorted(found)


def test_components_are_those_that_a_walk_finds() -> None:
    noise = np.random.default_rng(5)
    kinds = set()
    sizes_hw = ((1, 1), (1, 9), (7, 3), (30, 40), (30, 40))
    levels = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
    for size_hw, level, smoothing in itertools.product(sizes_hw, levels, (0, 1, 5)):
        values = noise.random(size_hw).astype(np.float32)
        if smoothing:
            values = np.asarray(cv2.GaussianBlur(values, (0, 0), smoothing), np.float32)
        mask = np.asarray(values >= np.quantile(values, level))
        mask[size_hw[0] // 2, size_hw[1] // 2] = smoothing != 1  # here and there a hole
        found, areas = component_boxes(mask)
        expected = plain_components(mask)
        both = zip(found.astype(int).tolist(), areas.tolist(), strict=True)
        assert sorted((box, area) for box, area in both) == expected
        assert areas.tolist() == sorted(areas.tolist(), reverse=True)
        kinds.add(min(len(expected), 2))  # none, one, several
    assert kinds == {0, 1, 2}


def test_largest_part_by_hand() -> None:
    part, box = largest_part(np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], np.bool_))
    assert box.tolist() == [3, 0, 4, 3]
    assert part.astype(int).tolist() == [[0, 0, 0, 1]] * 3


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
    found = rule_of(name)(np.zeros((4, 4), np.float32), as_picture(blank()), {})
    assert len(found) == 0
    assert found.size_hw == (40, 80)


@pytest.mark.parametrize("name", boxes.names())
def test_many_maps_have_the_boxes_that_each_has_alone(name: str) -> None:
    noise = np.random.default_rng(2)
    maps, pictures = [], []
    for side, size_hw in ((9, (40, 80)), (9, (33, 20)), (30, (40, 80)), (1, (5, 7)), (4, (9, 9))):
        values = noise.random((side, side)).astype(np.float32)
        maps.append(values / values.max())
        pictures.append(as_picture(noise.integers(0, 256, (*size_hw, 3)).astype(np.uint8)))
    maps.insert(2, np.zeros((9, 9), np.float32))
    pictures.insert(2, as_picture(blank()))
    given = {"parts": "3", "min_part": "0.01", "dilation": "0.1", "level": "percentile"}
    together = boxes.get(name)(maps, pictures, given)
    assert len(together) == len(maps)
    assert len(together[2]) == 0
    assert max(map(len, together)) > 1
    for values, picture, found in zip(maps, pictures, together, strict=True):
        alone = rule_of(name)(values, picture, given)
        assert found.size_hw == picture.size_hw
        np.testing.assert_allclose(found.xyxy_px, alone.xyxy_px, rtol=1e-6)
        np.testing.assert_allclose(found.score, alone.score, rtol=1e-6)
    assert boxes.get(name)([], [], given) == []


@pytest.mark.parametrize("name", boxes.names())
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (3, 2), (8000, 50)], ids=str)
def test_pictures_of_any_shape(name: str, size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0)
    rgb = noise.integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    for side in (1, 2, 9, 64):
        values = noise.random((side, side)).astype(np.float32)
        found = rule_of(name)(values / values.max(), as_picture(rgb), {})
        assert found.size_hw == size_hw
        assert len(found) <= (3 if name == "multi_level" else 1)


@pytest.mark.parametrize("colour", [0, 255])
def test_grabcut_on_a_single_colour_falls_back_to_the_map(colour: int) -> None:
    values = np.zeros((40, 40), np.float32)
    values[10:20, 20:30] = 1
    found = rule_of("quantile_grabcut")(
        values, as_picture(np.full((40, 40, 3), colour, np.uint8)), {"smoothing": "0"}
    )
    assert len(found) == 1
    assert found.xyxy_px[0].tolist() == [20, 10, 30, 20]


def test_threshold_box_round_a_bright_cell() -> None:
    # A cell of 1 in a 4 x 4 map of zeros, cut at half: linear interpolation reaches .5
    # half a cell beyond the cell's centre, so the box is one cell wide.
    found = rule_of("threshold")(
        bump((4, 4), (1, 2, 1.0)), as_picture(blank()), {"threshold": "0.5"}
    )
    assert found.label == (UNNAMED,)
    np.testing.assert_allclose(found.xyxy_px[0], [40, 10, 60, 20], atol=1.0)
    assert 0.5 < float(found.score[0]) <= 1


def test_threshold_takes_the_largest_part_or_several() -> None:
    values = bump((8, 8), (1, 1, 0.8), (1, 2, 0.8), (6, 6, 1.0))
    picture = as_picture(blank((80, 80)))
    rule = rule_of("threshold")
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
    rule = rule_of("quantile_grabcut")
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


def levels_map() -> FloatArray:
    """In the upper half 5 % of the cells at .8, beside them 10 % at .4; the others at .1."""
    values = np.full((160, 160), 0.1, np.float32)
    values[:80, 64:112] = 0.4
    values[:80, 80:96] = 0.8
    return values


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        pytest.param({}, (64, 112), id="of the maximum, .3 of .8 by default"),
        pytest.param({"threshold": "0.6"}, (80, 96), id="more of the maximum"),
        pytest.param({"level": "percentile", "threshold": "0.88"}, (64, 112), id="12 % of all"),
        pytest.param({"level": "percentile", "threshold": "0.97"}, (80, 96), id="few cells"),
        pytest.param({"level": "percentile"}, (0, 160), id="a quarter by default, most are equal"),
        pytest.param({"level": "absolute"}, (80, 96), id="absolute, .5 by default"),
        pytest.param({"level": "absolute", "threshold": "0.2"}, (64, 112), id="absolute"),
        # Between .1 and .4: w0 w1 (m0 - m1)^2 = .85 .15 (.1 - .5333)^2 = .0239;
        # between .4 and .8: .95 .05 (.1316 - .8)^2 = .0212. The former parts better.
        pytest.param({"level": "calibrated"}, (64, 112), id="by itself"),
        pytest.param({"level": "calibrated", "threshold": "1"}, (64, 112), id="takes no threshold"),
    ],
)
def test_levels(given: dict[str, str], columns: tuple[int, int]) -> None:
    found = rule_of("threshold")(levels_map(), as_picture(blank((160, 160))), given)
    assert len(found) == 1
    assert found.xyxy_px[0, [0, 2]].tolist() == list(columns)


def test_an_absolute_level_that_is_not_reached_has_no_box() -> None:
    rule = rule_of("threshold")
    options = {"level": "absolute", "threshold": "0.9"}
    assert len(rule(levels_map(), as_picture(blank((160, 160))), options)) == 0


def test_a_map_of_one_value_is_its_own_level() -> None:
    assert calibrated(np.full((4, 4), 0.25, np.float32), 0.3) == 0.25


def calibrated_level(
    maps: list[FloatArray], accepted: list[Boxes], level: str = "maximum"
) -> Calibration | None:
    both = zip(maps, accepted, strict=True)
    return best_share([fits(values, truth, level) for values, truth in both if len(truth)])


def test_calibrated_level_finds_the_share_that_fits_best() -> None:
    # The accepted box is round the middle column: shares above .5 (.4 of .8) give it.
    accepted = boxes_of((80, 0, 96, 80), size=160)
    found = calibrated_level([levels_map()], [accepted])
    assert found is not None
    assert found.threshold == 0.52  # .5 still takes the neighbours in
    assert found.mean_iou == pytest.approx(1)
    # With the wider box accepted, shares above .1 / .8.
    wider = calibrated_level([levels_map()], [boxes_of((64, 0, 112, 80), size=160)])
    assert wider is not None
    assert wider.threshold == 0.14
    # Used as a threshold, it gives the box.
    again = rule_of("threshold")(
        levels_map(), as_picture(blank((160, 160))), {"threshold": str(found.threshold)}
    )
    assert again.xyxy_px.tolist() == accepted.xyxy_px.tolist()


def test_calibrated_level_of_two_pictures_is_a_compromise() -> None:
    both = [boxes_of((80, 0, 96, 80), size=160), boxes_of((64, 0, 112, 80), size=160)]
    found = calibrated_level([levels_map()] * 2, both)
    assert found is not None
    # Either level fits one of them fully and the other to a third; the lower one is taken.
    assert found.mean_iou == pytest.approx((1 + 1 / 3) / 2)
    assert found.threshold == 0.14
    absolute = calibrated_level([levels_map()], both[:1], "absolute")
    assert absolute is not None
    assert absolute.threshold == 0.42
    assert absolute.threshold in SHARES


def test_calibrated_level_without_or_with_wrong_boxes() -> None:
    assert calibrated_level([], []) is None
    nothing = boxes_of(size=160)
    assert calibrated_level([levels_map()], [nothing]) is None
    blank_map = calibrated_level([np.zeros((4, 4), np.float32)], [boxes_of((0, 0, 9, 9), size=160)])
    assert blank_map is not None
    assert blank_map.mean_iou == 0


def boxes_of(*corners: tuple[int, int, int, int], size: int) -> Boxes:
    xyxy = np.array(corners, np.float32).reshape(-1, 4)
    count = len(corners)
    return Boxes(xyxy, np.ones(count, np.float32), ("thing",) * count, (size, size))


@pytest.mark.parametrize("name", boxes.names())
def test_every_rule_takes_one_part_or_all_of_them(name: str) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 60, (80, 80, 3)).astype(np.uint8)
    rgb[10:30, 10:30] += 180
    rgb[50:70, 50:75] += 180
    values = np.zeros((80, 80), np.float32)
    values[10:30, 10:30] = 0.9
    values[50:70, 50:75] = 1.0
    picture, rule = as_picture(rgb), rule_of(name)
    left, right = [10, 10, 30, 30], [50, 50, 75, 70]
    # GrabCut smooths the map, and its quantiles must leave room for both.
    given = {"foreground": "0.9", "background": "0.5", "smoothing": "0"}
    largest = rule(values, picture, {**given, "parts": "1"})
    np.testing.assert_allclose(largest.xyxy_px, [right], atol=1.5)
    several = rule(values, picture, {**given, "parts": "100"})
    assert len(several) == 2
    order = np.argsort(several.xyxy_px[:, 0])
    np.testing.assert_allclose(several.xyxy_px[order], [left, right], atol=1.5)
    assert several.score.tolist() == sorted(several.score.tolist(), reverse=True)
    together = rule(values, picture, {**given, "parts": "100", "together": "true"})
    np.testing.assert_allclose(together.xyxy_px, [[10, 10, 75, 70]], atol=1.5)
    # A margin of a fifth of the sides, a tenth to each side.
    grown = rule(values, picture, {**given, "parts": "1", "dilation": "0.2"})
    np.testing.assert_allclose(grown.xyxy_px, [[47.5, 48, 77.5, 72]], atol=1.5)
    # 500 of 6400 pixels are .078.
    assert len(rule(values, picture, {**given, "min_area": "0.1"})) == 0


def test_explained_by_hand() -> None:
    # Mean .25, variance .75 * .25. Box of the one cell: all of it.
    values = bump((2, 2), (0, 0, 1.0))
    found = explained(values, np.array([[0, 0, 1, 1], [0, 0, 2, 1], [0, 0, 2, 2], [1, 1, 2, 2]]))
    # Upper half: w = .5, m - M = .25; .5 * .0625 / .5 / .1875 = 1 / 3.
    np.testing.assert_allclose(found, [1, 1 / 3, 0, 0], atol=1e-6)
    flat = explained(np.ones((2, 2), np.float32), np.array([[0, 0, 1, 1]]))
    assert flat.tolist() == [0]
    corners = np.array([[2, 3, 9, 7], [0, 0, 12, 5]])
    noise = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    for box, value in zip(corners, explained(noise, corners), strict=True):
        mask = np.zeros((12, 12))
        mask[box[1] : box[3], box[0] : box[2]] = 1
        correlation = np.corrcoef(mask.ravel(), noise.ravel())[0, 1]
        assert value == pytest.approx(max(correlation, 0) ** 2, abs=1e-6)


def test_multi_level_takes_each_part_at_the_level_that_suits_it() -> None:
    # A bright spot on a wide plateau of .3, and a weak thing of .45 elsewhere: no one share
    # gives both, .2 and .35 of the maximum do.
    values = np.zeros((160, 160), np.float32)
    values[20:60, 20:60] = 0.3
    values[35:45, 35:45] = 1.0
    values[100:140, 100:130] = 0.45
    rule, picture = rule_of("multi_level"), as_picture(blank((160, 160)))
    found = rule(values, picture, {})
    assert [20, 20, 60, 60] in found.xyxy_px.tolist()
    assert [100, 100, 130, 140] in found.xyxy_px.tolist()
    # The spot lies in the plateau's box: one of the two is kept.
    assert len(found) == 2
    assert found.score.tolist() == pytest.approx(
        sorted(explained(values, found.xyxy_px).tolist(), reverse=True)
    )
    high = rule(values, picture, {"levels": "0.9"})
    assert high.xyxy_px.tolist() == [[35, 35, 45, 45]]
    assert read_options(MultiLevelOptions, {"model_levels": "0.2, 0.5"}).levels == (0.2, 0.5)


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
        ({"level": "mean"}, "Give one of maximum, percentile, absolute, calibrated."),
    ],
    ids=str,
)
def test_options_that_cannot_be_used(text: dict[str, str], message: str) -> None:
    with pytest.raises(LabelConfigInvalid) as caught:
        read_options(ThresholdOptions, text)
    assert caught.value.remedy == message

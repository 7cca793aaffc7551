"""Explanations, questions and the steps to boxes, by hand and against ``detect``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from backend.domain import BoolArray, Boxes, SaliencyMap
from backend.errors import LabelConfigInvalid, ShapeError, UnknownName
from backend.vision import boxes
from backend.vision.backbones import Backbone
from backend.vision.boxes.steps import steps
from backend.vision.detect import DetectOptions, LabelQuery, detect, look, prepare
from backend.vision.explain import explain
from backend.vision.look import Looked
from backend.vision.options import NO_OPTIONS
from backend.vision.overlay import cut_out, fitted, png, with_boxes
from backend.vision.questions import ask_for, draw_maps
from backend.vision.saliency import SaliencyMethod, Target
from tests.vision.conftest import SIDE_PX, as_picture, drawn_picture

PICTURE = drawn_picture()
BLANK = as_picture(np.full((30, 40, 3), 7, np.uint8))


def seen(backbone: Backbone, *pictures: object) -> Looked:
    return look(backbone, np.stack([prepare(one, SIDE_PX) for one in pictures]))  # type: ignore[arg-type]


def query(name: str) -> LabelQuery:
    return LabelQuery(name, (name,))


def test_a_label_is_asked_for_however_improbable(tiny_pooled: Backbone) -> None:
    looked = seen(tiny_pooled, PICTURE, BLANK)
    (one,) = ask_for(looked, query("orange"))
    (index,) = tiny_pooled.matcher.match(("orange",))
    assert one.row == 0, "the blank picture is asked nothing"
    assert one.named.classes == (index,)
    assert one.named.probability == pytest.approx(float(looked.probability[0, index]))
    assert ask_for(looked, query("raccoon"))[0].named.classes == ()
    assert ask_for(looked, None)[0].named.label is None


def test_only_together_pictures_of_one_class_are_a_group(tiny_pooled: Backbone) -> None:
    groups: list[list[int] | None] = []

    def draw(looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS) -> SaliencyMap:
        groups.append(None if target.group is None else target.group.tolist())
        return SaliencyMap(np.zeros((len(looked), 2, 2), np.float32))

    method = SaliencyMethod("x", draw, "threshold", draw)
    looked = seen(tiny_pooled, PICTURE, PICTURE)
    oranges, bananas = (ask_for(looked, query(name)) for name in ("orange", "banana"))
    draw_maps(looked, [*oranges, *bananas], method, {})
    draw_maps(looked, [*oranges, *bananas], method, {}, together=True)
    assert groups == [None, [0, 0, 1, 1]]


@pytest.mark.parametrize("name", ["raccoon", "orange"])
def test_boxes_are_those_of_detect_where_it_asks_the_same(tiny_pooled: Backbone, name: str) -> None:
    looked = seen(tiny_pooled, PICTURE)
    options = DetectOptions(saliency="norm")  # the same map with and without a class
    (explained,) = explain(looked, [PICTURE], query(name), options)
    (found,) = detect(looked, [PICTURE], [query(name)], options)
    np.testing.assert_array_equal(explained.boxes.xyxy_px, found.xyxy_px)
    assert explained.boxes.label == found.label == (name,)
    assert (explained.method, explained.box_rule) == ("norm", "threshold")


def test_what_is_explained_is_told(tiny_pooled: Backbone) -> None:
    looked = seen(tiny_pooled, PICTURE)
    (known,) = explain(looked, [PICTURE], query("orange"), DetectOptions(saliency="cam"))
    assert known.target.matched
    assert known.target.classes == (("orange", 1.0),)
    (unknown,) = explain(looked, [PICTURE], query("raccoon"), DetectOptions(saliency="cam"))
    assert not unknown.target.matched
    assert unknown.target.probability is None
    likeliest = looked.logits[0].topk(5)
    names = [tiny_pooled.classes[int(index)].name for index in likeliest.indices]
    shares = torch.softmax(likeliest.values, 0).tolist()
    assert [name for name, _ in unknown.target.classes] == names
    np.testing.assert_allclose([share for _, share in unknown.target.classes], shares, rtol=1e-5)


def test_a_picture_of_one_colour_has_no_boxes_and_a_zero_map(tiny_pooled: Backbone) -> None:
    looked = seen(tiny_pooled, BLANK, PICTURE)
    for rule in boxes.names():
        options = DetectOptions(saliency="cam", box_rule=rule)
        blank, drawn = explain(looked, [BLANK, PICTURE], query("orange"), options)
        assert not blank.values_hw.any()
        assert len(blank.boxes) == 0
        if blank.steps is not None:
            assert not blank.steps.mask_hw.any()
        assert drawn.values_hw.any()


def test_wrong_names_and_options_are_refused_before_any_map(tiny_pooled: Backbone) -> None:
    looked = seen(tiny_pooled, PICTURE)
    for options in (
        DetectOptions(saliency="cma"),
        DetectOptions(saliency="cam", box_rule="grab"),
    ):
        with pytest.raises(UnknownName):
            explain(looked, [PICTURE], None, options)
    with pytest.raises(LabelConfigInvalid):
        explain(looked, [PICTURE], None, DetectOptions(saliency="cam", extra={"threshold": "x"}))
    with pytest.raises(ShapeError):
        explain(looked, [PICTURE, PICTURE], None, DetectOptions(saliency="cam"))


def two_parts() -> np.ndarray:
    """A large part at the left, a small one at the right."""
    values = np.zeros((12, 16), np.float32)
    values[2:10, 1:7] = 1
    values[5:8, 12:15] = 1
    return values


def side(mask_hw: BoolArray) -> tuple[bool, bool]:
    """Whether something lies in the left and in the right half."""
    middle = mask_hw.shape[1] // 2
    return bool(mask_hw[:, :middle].any()), bool(mask_hw[:, middle:].any())


@pytest.mark.parametrize(
    ("options", "boxed"),
    [
        pytest.param({}, (True, False), id="the largest"),
        pytest.param({"parts": "2"}, (True, True), id="both"),
        pytest.param({"parts": "2", "together": "true"}, (True, True), id="one round both"),
        pytest.param({"dilation": "0.5"}, (True, False), id="with a margin"),
        pytest.param({"min_area": "0.9"}, (False, False), id="none is large enough"),
    ],
)
def test_the_component_is_what_has_a_box(options: dict[str, str], boxed: tuple[bool, bool]) -> None:
    picture = as_picture(np.zeros((120, 160, 3), np.uint8))
    values = two_parts()
    (found,) = boxes.get("threshold")([values], [picture], options)
    shown = steps("threshold", values, picture, options, found)
    assert shown is not None
    assert side(shown.mask_hw) == (True, True)
    assert (shown.sure_hw == shown.mask_hw).all()
    assert (shown.ground_hw == ~shown.mask_hw).all()
    assert side(shown.component_hw) == boxed


def test_the_steps_of_grabcut_are_its_seeds_and_its_mask() -> None:
    y, x = np.mgrid[:120, :160]
    values = np.clip(1 - np.hypot(x - 80, y - 60) / 80, 0, 1).astype(np.float32)
    (found,) = boxes.get("quantile_grabcut")([values], [PICTURE], {})
    shown = steps("quantile_grabcut", values, PICTURE, {}, found)
    assert shown is not None
    assert shown.sure_hw.mean() == pytest.approx(0.05, abs=0.01), "above the upper quantile"
    assert shown.ground_hw.mean() == pytest.approx(0.30, abs=0.02), "below the lower one"
    assert shown.sure_hw[60, 80]
    assert shown.ground_hw[0, 0]
    assert not (shown.sure_hw & shown.ground_hw).any()
    rows, columns = np.nonzero(shown.component_hw)
    own = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found.xyxy_px[0], own, atol=1e-3)


def test_a_rule_without_a_mask_shows_no_steps() -> None:
    assert steps("multi_level", two_parts(), PICTURE, {}, Boxes.empty((120, 160))) is None


def test_what_is_drawn_over_a_picture_leaves_it_alone() -> None:
    rgb = np.full((10, 20, 3), 200, np.uint8)
    right = np.array([[False, True]])
    cut = cut_out(rgb, right)
    assert (cut[:, 10:] == 200).all()
    assert (cut[:, :10] == 50).all()
    box = Boxes(np.array([[0, 0, 40, 20]], np.float32), np.ones(1, np.float32), ("",), (20, 40))
    assert (with_boxes(rgb, box)[9, 5] == (255, 64, 64)).all()
    assert (rgb == 200).all()
    assert png(rgb).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((10, 20), (50, 100)), ((10, 100), (15, 150)), ((1000, 1), (50, 1)), ((1, 1), (50, 50))],
)
def test_fitted(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(np.zeros((*size_hw, 3), np.uint8), 50, 150).shape[:2] == expected

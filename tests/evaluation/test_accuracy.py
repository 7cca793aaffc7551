"""Learning curves on drawn pictures, with a learner that is easy to predict."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.domain import UNNAMED, Boxes, Picture, U8Array
from backend.errors import ConfigError
from backend.evaluation.accuracy import Curves, compare, measure
from backend.evaluation.annotator import Annotator, Plan, Savings
from backend.evaluation.bed import Bed, bed_of, picture_ids
from backend.evaluation.curves import (
    Point,
    Split,
    check_counts,
    mean_curve,
    shuffled_split,
    split_by_time,
)
from backend.evaluation.matching import Accuracy
from backend.evaluation.proposers import ConstantBox, Proposals, learned_on, zero_shot_on
from backend.evaluation.voc import read_image_set
from backend.learning.examples import Example
from backend.learning.next_tasks import STRATEGIES
from backend.vision.backbones import Backbone
from backend.vision.detect import DetectOptions
from backend.vision.look import look
from backend.vision.objects import Objects, Sight
from tests.evaluation.sets import Kept, nearest_learner, write_set
from tests.vision.conftest import seeded_backbone

COUNT = 12


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return seeded_backbone("squeezenet1_1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "drawn", COUNT)


@pytest.fixture
def bed(folder: Path, backbone: Backbone) -> Bed:
    return bed_of(read_image_set(folder, "voc"), backbone, nearest_learner(Kept()))


def example(name: str, *boxes: tuple[str, tuple[float, float, float, float]]) -> Example:
    return Example(
        name,
        Boxes(
            np.array([corners for _, corners in boxes], np.float32).reshape(-1, 4),
            np.ones(len(boxes), np.float32),
            tuple(label for label, _ in boxes),
            (100, 200),
        ),
        np.zeros((0, 4), np.float32),
    )


@pytest.mark.parametrize("count", [2, 3, 10, 11])
def test_the_protocol(count: int) -> None:
    ids = [f"{at:02d}" for at in range(count)]
    for seed in range(3):
        order = list(ids)
        random.Random(seed).shuffle(order)
        split = shuffled_split(ids, seed)
        assert split.held_out == tuple(order[: count // 2])
        assert split.pool == tuple(order[count // 2 :])
    by_time = split_by_time(ids)
    assert by_time.pool + by_time.held_out == tuple(ids)
    assert len(by_time.pool) == len(split.pool)


@pytest.mark.parametrize(
    ("accepted", "pictures", "fine"),
    [((0,), 0, False), ((0,), 1, False), ((0, 1), 2, True), ((2,), 2, False), ((2,), 3, True)],
)
def test_more_than_half_cannot_be_accepted(
    accepted: tuple[int, ...], pictures: int, fine: bool
) -> None:
    if fine:
        check_counts(accepted, pictures)
        return
    with pytest.raises(ConfigError):
        check_counts(accepted, pictures)


def test_means_over_draws() -> None:
    def point(accepted: int, f1_50: float, fit_s: float) -> Point:
        return Point(accepted, Accuracy(f1_50, 0, 0, 0, 0), fit_s)

    curve = mean_curve([[point(5, 1.0, 1), point(0, 0.5, 0)], [point(5, 0.5, 3)]])
    assert [one.accepted for one in curve] == [0, 5]
    assert curve[1].accuracy.f1_50 == 0.75
    assert curve[1].as_dict() == {
        "accepted": 5,
        "f1_50": 0.75,
        "f1_70": 0,
        "mean_iou": 0,
        "no_edit": 0,
        "fit_s": 2,
        "ece": 0,
    }


def test_constant_box_is_the_median_with_the_commonest_label() -> None:
    examples = {
        "a": example("a", ("cat", (0, 0, 100, 50)), ("dog", (20, 10, 100, 50))),
        "b": example("b", ("dog", (40, 20, 200, 100))),
        "c": example("c"),
    }
    found = ConstantBox(examples).propose(("a", "b"), ("c",)).boxes["c"]
    assert found.xyxy_px[0].tolist() == pytest.approx([20, 10, 100, 50])
    assert found.label == ("dog",)
    # Of the three boxes it matches one at 0.7 with the right label.
    assert found.score.tolist() == pytest.approx([1 / 3])
    assert len(ConstantBox(examples).propose(("c",), ("a",)).boxes["a"]) == 0


def test_a_learner_is_perfect_on_what_it_has_learned(bed: Bed) -> None:
    learned = learned_on(bed, zero_shot_on(bed))
    split = Split(bed.ids[:6], bed.ids[:6])  # held out is what was accepted: known by heart
    few, all_known = measure(learned, [split], (1, 6), bed.examples)
    assert all_known.accuracy.f1_70 == 1.0
    assert all_known.accuracy.no_edit == 1.0
    assert all_known.accuracy.ece == pytest.approx(0.5)  # it says 0.5 and is always right
    assert few.accuracy.f1_50 < 1.0


def test_what_is_compared(bed: Bed) -> None:
    told: list[str] = []
    splits = [shuffled_split(bed.ids, seed) for seed in range(2)]
    curves = compare(bed, splits, (0, 1, 6), told.append)
    # 3 numbers of the learned way, 2 of the constant box, 1 of the zero-shot map; two draws.
    assert len(told) == 12
    rows = Curves("drawn", COUNT, "squeezenet1_1", (0, 1), curves).as_dict()
    assert [row["accepted"] for row in rows["curves"]] == [0, 1, 6]
    assert [row["accepted"] for row in rows["constant"]] == [1, 6]
    # With nothing accepted the product proposes what the frozen network sees.
    assert rows["curves"][0] == rows["zero_shot"]
    assert rows["seeds"] == [0, 1]
    json.dumps(rows)


def test_text_and_plot_tell_every_row(bed: Bed) -> None:
    curves = Curves("drawn", COUNT, "net", (0,), compare(bed, [shuffled_split(bed.ids, 0)], (0, 2)))
    lines = curves.told().splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [
        ["learned", "0"],
        ["learned", "2"],
        ["constant", "2"],
        ["zero_shot", "0"],
    ]
    assert "learned, F1 at IoU 0.7" in curves.plot()


def test_a_picture_is_described_once(folder: Path, backbone: Backbone) -> None:
    forwards: list[int] = []
    kept = Kept()  # which itself refuses what it has
    bed = bed_of(read_image_set(folder, "voc"), backbone, nearest_learner(kept), forwards.append)
    learned = learned_on(bed, zero_shot_on(bed))
    for _ in range(2):
        learned.propose(bed.ids[:3], bed.ids[3:])
    # Three upright and mirrored, the other nine upright; and one zero-shot look at each: at
    # those three to hold the head against, at the nine for a label that no accepted one has.
    # Whether a box of the head shows that label is asked of another look each time: this
    # learning knows no objects, whose cells would tell.
    assert len(kept.features) == 3 + 3 + 9
    assert sum(forwards) == len(kept.features) + 3 + 9 + 2 * 9


def test_version_zero_is_the_products_own(folder: Path, backbone: Backbone) -> None:
    """Objects where something is known of them, from features that are taken once."""

    def see(
        features: Sequence[Any],
        pictures: Sequence[Picture],
        squares_u8: U8Array,
        _hint: DetectOptions,
    ) -> Sight:
        whole = [np.array([[0, 0, *one.size_hw[::-1]]], np.float32) for one in features]
        found = [
            Boxes(box, np.ones(1, np.float32), (UNNAMED,), one.size_hw)
            for box, one in zip(whole, pictures, strict=True)
        ]
        looked = look(backbone, squares_u8)
        return Sight(looked, Objects(tuple(found), looked))

    kept, forwards = Kept(), list[int]()
    learner = replace(nearest_learner(kept), see_objects=lambda _backbone: see)
    bed = bed_of(read_image_set(folder, "voc"), backbone, learner, forwards.append)
    for _ in range(2):
        found = zero_shot_on(bed).propose((), bed.ids).boxes
    assert {one: boxes.xyxy_px.tolist() for one, boxes in found.items()} == {
        one: [[0, 0, 128, 96]] for one in bed.ids
    }
    assert sum(forwards) == len(kept.features) == COUNT
    mapped = bed.shelf.zero_shot(bed.ids, bed.labels, DetectOptions("cam"))
    assert any(mapped[one].xyxy_px.tolist() != found[one].xyxy_px.tolist() for one in bed.ids)
    assert sum(forwards) == 2 * COUNT


def test_a_label_without_an_accepted_box_keeps_to_version_zero(bed: Bed) -> None:
    class Corner:
        """Puts a box of the label that nothing was accepted of into every picture."""

        name, least = "corner", 0

        def propose(self, accepted: Sequence[str], asked: Sequence[str]) -> Proposals:
            return Proposals({one: boxes_of(one, lacking, (0, 0, 4, 4)) for one in asked})

    def boxes_of(one: str, label: str, corners: tuple[float, float, float, float]) -> Boxes:
        size_hw = bed.examples[one].boxes.size_hw
        return Boxes(np.array([corners], np.float32), np.ones(1, np.float32), (label,), size_hw)

    every = {label.value for label in bed.labels}
    accepted = [one for one in bed.ids if set(bed.examples[one].boxes.label) < every][:1]
    known = set(bed.examples[accepted[0]].boxes.label)
    lacking = min(every - known)
    found = learned_on(bed, Corner()).propose(accepted, bed.ids[:2]).boxes
    assert all(boxes.label[0] == lacking for boxes in found.values())
    assert all(set(boxes.label) == known | {lacking} for boxes in found.values())


def test_a_set_may_hold_a_file_twice() -> None:
    assert picture_ids([]) == ()
    assert picture_ids(["a", "b", "a", "a"]) == ("a", "b", "a#1", "a#2")


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_the_annotator_accepts_by_the_plan(bed: Bed, name: str) -> None:
    annotator = Annotator(
        learned_on(bed, zero_shot_on(bed)), bed.examples, bed.shelf.pooled(bed.ids, small=False)
    )
    plan = Plan(start=1, step=2, most=6)
    told: list[str] = []
    curve = annotator.curve(name, {0: shuffled_split(bed.ids, 0)}, plan, told.append)
    assert [one.accepted for one in curve] == [1, 3, 5, 6]
    assert len(told) == plan.points == 4


def test_all_strategies_begin_and_end_alike_on_the_same_pool(bed: Bed) -> None:
    annotator = Annotator(
        learned_on(bed, zero_shot_on(bed)), bed.examples, bed.shelf.pooled(bed.ids, small=False)
    )
    split = {0: shuffled_split(bed.ids, 0)}
    curves = [annotator.curve(name, split, Plan(2, 4, 6)) for name in ("random", "uncertainty")]
    # The whole pool is accepted in the end, whatever its order.
    for first, second in ((curves[0][0], curves[1][0]), (curves[0][-1], curves[1][-1])):
        assert first.accuracy == second.accuracy


def savings(**curves: list[float]) -> Savings:
    return Savings(
        "drawn",
        "net",
        (0,),
        {
            name: tuple(
                Point(3 + 5 * at, Accuracy(f1, 0, 0, 0, 0), 0.0) for at, f1 in enumerate(figures)
            )
            for name, figures in curves.items()
        },
    )


def test_what_a_strategy_saves() -> None:
    found = savings(random=[0.1, 0.2, 0.5], mixed=[0.1, 0.6, 0.4], uncertainty=[0.1, 0.2, 0.3])
    rows = {row["strategy"]: row for row in found.as_dict()["strategies"]}
    assert {name: (row["needed"], row["saved"]) for name, row in rows.items()} == {
        "random": (13, 0),
        "mixed": (8, 5),
        "uncertainty": (None, None),
    }
    lines = [line.split() for line in found.told().splitlines()]
    assert lines[3][-2:] == ["8", "5"]
    assert lines[4][-2:] == ["-", "-"]
    assert "uncertainty" in found.plot()

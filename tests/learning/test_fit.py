"""Fitting a head on made-up pictures whose objects can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from backend.domain import BackboneIdentity, Boxes
from backend.errors import ConfigError, RequestError
from backend.learning.examples import Example
from backend.learning.fit import fit, wants_small
from backend.learning.head import Head, predict
from backend.learning.matching import hits
from backend.learning.promote import Counts, judge, total
from tests.learning.scenes import LABELS, SIZE_HW, project

IDENTITY = BackboneIdentity("made-up", "0123", 160)


@pytest.mark.slow
def test_a_head_finds_what_was_accepted() -> None:
    examples, features = project(16, seed=1)
    head, report = fit(examples, features, LABELS, IDENTITY)
    others, unseen = project(12, seed=2)
    found = predict(head, [unseen[other.picture][0] for other in others])
    counts = total(judge(boxes, other.boxes) for boxes, other in zip(found, others, strict=True))
    assert counts.f1_50 > 0.7, counts
    assert report.f1_50 > 0.6
    assert {label for boxes in found for label in boxes.label} == set(LABELS)
    assert set(report.per_picture) == {example.picture for example in examples}
    assert head.meta.metrics["f1_50"] == report.f1_50
    assert head.meta.pictures == tuple(example.picture for example in examples)


@pytest.mark.slow
def test_the_report_is_out_of_fold() -> None:
    """Labels without any relation to the pictures cannot be predicted out of fold."""
    examples, features = project(12, seed=3)
    boxes = [example.boxes for example in examples]
    shuffled = [
        Example(example.picture, boxes[(i + 5) % 12], example.rejected_xyxy_px)
        for i, example in enumerate(examples)
    ]
    _, honest = fit(shuffled, features, LABELS, IDENTITY)
    _, right = fit(examples, features, LABELS, IDENTITY)
    assert honest.f1_50 < right.f1_50 - 0.2


def test_bytes_give_the_same_head() -> None:
    examples, features = project(6, seed=4)
    head, _ = fit(examples, features, LABELS, IDENTITY)
    again = Head.from_bytes(head.to_bytes())
    picture = features[examples[0].picture][0]
    (first,), (second,) = predict(head, [picture]), predict(again, [picture])
    assert first.xyxy_px.tolist() == second.xyxy_px.tolist()
    assert first.score.tolist() == second.score.tolist()
    assert again.meta == head.meta
    assert again.to_bytes() == head.to_bytes()


@pytest.mark.slow
def test_fitting_twice_gives_the_same() -> None:
    examples, features = project(5, seed=5)
    once, _ = fit(examples, features, LABELS, IDENTITY)
    twice, _ = fit(examples, features, LABELS, IDENTITY)
    picture = features[examples[0].picture][0]
    assert predict(once, [picture])[0].xyxy_px.tolist() == (
        predict(twice, [picture])[0].xyxy_px.tolist()
    )


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    examples, features = project(8, seed=11)
    made = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            head, _ = fit(examples, features, LABELS, IDENTITY)
        made.append(replace(head, meta=replace(head.meta, metrics={})).to_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_pictures_are_enough_to_begin(count: int) -> None:
    examples, features = project(count, seed=6)
    head, report = fit(examples, features, LABELS, IDENTITY)
    assert len(report.per_picture) == count
    for boxes in predict(head, [pair[0] for pair in features.values()]):
        assert set(boxes.label) <= set(LABELS)


def test_pictures_where_nothing_was_found_are_learned_from() -> None:
    examples, features = project(8, seed=7)
    empty = Example(examples[0].picture, Boxes.empty(SIZE_HW), examples[0].rejected_xyxy_px)
    head, report = fit([empty, *examples[1:]], features, LABELS, IDENTITY)
    assert report.per_picture[empty.picture].fn50 == 0
    assert head.labels == LABELS


def test_labels_without_a_box_stay_unknown_and_others_are_left_out() -> None:
    examples, features = project(6, seed=8)
    head, _ = fit(examples, features, ("square", "triangle"), IDENTITY)
    assert head.labels == ("square",)


def test_nothing_accepted_is_refused() -> None:
    examples, features = project(2, seed=9)
    with pytest.raises(RequestError, match="No accepted box"):
        fit(examples, features, ("triangle",), IDENTITY)
    with pytest.raises(RequestError, match="No accepted box"):
        fit([], {}, LABELS, IDENTITY)


@pytest.mark.parametrize(
    "data", [b"", b"nothing", b"\x80\x04\x95pickle"], ids=["empty", "text", "pickle"]
)
def test_other_bytes_are_no_head(data: bytes) -> None:
    with pytest.raises(ConfigError, match="not a head"):
        Head.from_bytes(data)


def test_small_boxes_want_larger_pictures() -> None:
    def example(side_px: float) -> Example:
        boxes = Boxes(
            np.array([[0, 0, side_px, side_px]], np.float32),
            np.ones(1, np.float32),
            ("disc",),
            (100, 100),
        )
        return Example("x", boxes, np.zeros((0, 4), np.float32))

    assert not wants_small([])
    assert not wants_small([example(30)])
    assert wants_small([example(10), example(12), example(60)])


def test_hits_take_each_true_box_once() -> None:
    overlap = np.array([[0.9, 0.6], [0.8, 0.1], [0.2, 0.75]], np.float32)
    assert hits(overlap, 0.5).tolist() == [1, 0, 1]
    assert hits(overlap, 0.7).tolist() == [1, 0, 1]
    assert hits(np.zeros((2, 0), np.float32), 0.5).tolist() == [0, 0]


def test_progress_goes_up_to_one() -> None:
    examples, features = project(3, seed=10)
    told: list[float] = []
    fit(examples, features, LABELS, IDENTITY, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert Counts().score == 1.0

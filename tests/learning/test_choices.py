"""Answers learned from made-up features in which each choice lights up its own channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from backend.domain import BackboneIdentity, Boxes
from backend.errors import ConfigError, RequestError
from backend.learning.choices import (
    Answered,
    ChoiceHead,
    Opinion,
    Question,
    answered,
    fit_choices,
    learnable,
)
from backend.learning.examples import Example
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.fit import fit
from backend.learning.head import Head
from backend.learning.project_head import (
    ProjectHead,
    fit_project,
    predict,
    predict_choices,
)
from tests.learning.scenes import LABELS, SIZE_HW, project

IDENTITY = BackboneIdentity("made-up", "0123", 160)
KIND = Question("kind", multiple=False)
TAGS = Question("tags", multiple=True)
NAMES = ("bird", "cat", "dog")
CHANNELS = 48


def example(picture: str, **taken: Sequence[str]) -> Example:
    none = np.zeros((0, 4), np.float32)
    choices = {control: tuple(names) for control, names in taken.items()}
    return Example(picture, Boxes.empty(SIZE_HW), none, choices, drawn_on=False)


def pooled_of(random: np.random.RandomState, names: Sequence[str]) -> F16Array:
    vector = np.abs(random.normal(0.2, 0.1, CHANNELS))
    for name in names:
        at = 8 * NAMES.index(name)
        vector[at : at + 8] += 0.4
    return vector.astype(np.float16)


def pictures(
    answers: Sequence[Sequence[str]], question: Question, seed: int = 0
) -> tuple[list[Example], dict[str, F16Array]]:
    random = np.random.RandomState(seed)
    examples = [example(f"p{i}", **{question.control: names}) for i, names in enumerate(answers)]
    return examples, {f"p{i}": pooled_of(random, names) for i, names in enumerate(answers)}


def singles(count: int, seed: int) -> list[list[str]]:
    return [[NAMES[i]] for i in np.random.RandomState(seed).randint(0, 3, count)]


def several(count: int, seed: int) -> list[list[str]]:
    taken = np.random.RandomState(seed).rand(count, 3) < (0.5, 0.4, 0.15)
    return [[n for n, yes in zip(NAMES, row, strict=True) if yes] or ["bird"] for row in taken]


def known(question: Question, examples: Sequence[Example]) -> Answered:
    found = answered(question, examples)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("question", "answers", "multiple"),
    [
        pytest.param(KIND, singles(40, 1), False, id="single"),
        pytest.param(TAGS, several(60, 2), True, id="multiple"),
    ],
)
def test_what_can_be_told_is_learned(
    question: Question, answers: list[list[str]], multiple: bool
) -> None:
    examples, pooled = pictures(answers, question)
    head, right = fit_choices(known(question, examples), pooled)
    assert head.accuracy == np.mean(list(right.values())) > 0.85
    unseen = several(40, 3) if multiple else singles(40, 3)
    others, vectors = pictures(unseen, question, seed=4)
    taken = [one.take() for one in head([vectors[other.picture] for other in others])]
    hits = [set(names) == set(wanted) for (names, _), wanted in zip(taken, unseen, strict=True)]
    assert np.mean(hits) > 0.85
    assert all(0 < score <= 1 for names, score in taken if names)


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        pytest.param(KIND, singles(60, 5), id="single"),
        pytest.param(TAGS, several(60, 5), id="multiple"),
    ],
)
def test_accuracy_is_out_of_fold(question: Question, answers: list[list[str]]) -> None:
    """Answers without any relation to the pictures are learned by heart, and told nothing."""
    _, pooled = pictures(answers, question)
    shuffled = [answers[i] for i in np.random.RandomState(6).permutation(len(answers))]
    examples, _ = pictures(shuffled, question)
    head, right = fit_choices(known(question, examples), pooled)
    assert head.accuracy < 0.55
    assert np.mean(list(right.values())) == head.accuracy
    if not question.multiple:
        opinions = head([pooled[one.picture] for one in examples])
        assert np.mean([max(one.probability.values()) for one in opinions]) < 0.6


@pytest.mark.parametrize(
    ("question", "answers", "choices"),
    [
        pytest.param(KIND, [], None, id="none"),
        pytest.param(KIND, [["cat"]], None, id="one picture"),
        pytest.param(KIND, [["cat"], ["cat"]], None, id="one answer"),
        pytest.param(KIND, [["cat"], ["dog"]], ("cat", "dog"), id="two answers"),
        pytest.param(KIND, [["cat"], ["cat", "dog"]], None, id="several where one is asked for"),
        pytest.param(KIND, [["cat"], []], None, id="no answer is none"),
        pytest.param(TAGS, [["cat", "dog"], ["dog", "cat"]], None, id="the same in another order"),
        pytest.param(TAGS, [["cat"], ["cat", "dog"]], ("cat", "dog"), id="two sets"),
    ],
)
def test_two_different_answers_are_needed(
    question: Question, answers: list[list[str]], choices: tuple[str, ...] | None
) -> None:
    examples = [example(f"p{i}", **{question.control: names}) for i, names in enumerate(answers)]
    found = answered(question, examples)
    assert (found.choices if found else None) == choices
    assert learnable([question], examples) == ((question,) if choices else ())


def test_two_pictures_promise_nothing() -> None:
    examples, pooled = pictures([["cat"], ["dog"]], KIND)
    head, right = fit_choices(known(KIND, examples), pooled)
    assert right == {"p0": False, "p1": False}, "out of fold each is the only one of its kind"
    (opinion,) = head([pooled["p0"]])
    assert opinion.take()[0] == ("cat",)
    assert opinion.probability == pytest.approx({"cat": 0.5, "dog": 0.5}, abs=0.01)


def test_a_choice_that_is_always_taken() -> None:
    answers = [["cat"] if i % 2 else ["cat", "dog"] for i in range(20)]
    examples, pooled = pictures(answers, TAGS)
    head, right = fit_choices(known(TAGS, examples), pooled)
    assert head.accuracy > 0.8
    assert all("cat" in one.take()[0] for one in head([pooled[name] for name in right]))


SURE = {"cat": 0.7, "dog": 0.2, "bird": 0.1}


@pytest.mark.parametrize(
    ("probability", "cut", "allowed", "threshold", "expected"),
    [
        pytest.param({}, {}, None, 0.0, ((), 0.0), id="nothing known"),
        pytest.param(SURE, {}, None, 0.0, (("cat",), 0.7), id="the best"),
        pytest.param(SURE, {}, None, 0.8, ((), 0.0), id="below the threshold"),
        pytest.param(SURE, {}, {"dog", "bird"}, 0.0, (("dog",), 0.2), id="of those allowed"),
        pytest.param(SURE, {}, {"fish"}, 0.0, ((), 0.0), id="none allowed"),
        pytest.param({"b": 0.5, "a": 0.5}, {}, None, 0.0, (("a",), 0.5), id="a tie by name"),
        pytest.param(
            SURE, dict.fromkeys(SURE, 0.2), None, 0.0, (("cat", "dog"), 0.2), id="all above the cut"
        ),
        pytest.param(
            SURE, dict.fromkeys(SURE, 0.2), None, 0.5, (("cat",), 0.7), id="cut and threshold"
        ),
        pytest.param(SURE, dict.fromkeys(SURE, 0.9), None, 0.0, ((), 0.0), id="below the cut"),
    ],
)
def test_take(
    probability: Mapping[str, float],
    cut: Mapping[str, float],
    allowed: set[str] | None,
    threshold: float,
    expected: tuple[tuple[str, ...], float],
) -> None:
    assert Opinion(probability, cut).take(allowed, threshold) == expected


# ---- together with boxes


def scene(
    count: int, seed: int
) -> tuple[list[Example], dict[str, tuple[PictureFeatures, PictureFeatures]]]:
    """Scenes whose answers are: which labels they show, and whether there is one box."""
    examples, features = project(count, seed)
    return [
        Example(
            one.picture,
            one.boxes,
            one.rejected_xyxy_px,
            {"kind": (str(len(one.boxes)),), "tags": tuple(sorted(set(one.boxes.label)))},
        )
        for one in examples
    ], features


def without_boxes(examples: Sequence[Example]) -> list[Example]:
    return [example(one.picture, **one.choices) for one in examples]


@pytest.mark.slow
def test_boxes_and_answers_are_one_head() -> None:
    examples, features = scene(12, seed=1)
    head, report = fit_project(examples, features, LABELS, (KIND, TAGS), IDENTITY)
    assert (head.labels, head.controls) == (LABELS, ("kind", "tags"))
    alone, alone_report = fit(examples, features, LABELS, IDENTITY)
    upright = [features[one.picture][0] for one in examples]
    again = ProjectHead.from_bytes(head.to_bytes())
    assert again.to_bytes() == head.to_bytes(), "the same bytes every time"
    assert predict_choices(again, upright) == predict_choices(head, upright)
    found, expected = predict(again, upright), predict(ProjectHead(alone, (), False), upright)
    assert [one.xyxy_px.tolist() for one in found] == [one.xyxy_px.tolist() for one in expected]
    assert report.metrics["f1_50"] == alone_report.f1_50
    assert {"accuracy_kind", "accuracy_tags"} < set(report.metrics)
    for picture, counts in report.per_picture.items():
        assert counts.boxes == alone_report.per_picture[picture].boxes
        assert counts.answers.keys() == {"kind", "tags"}


def test_answers_alone_are_a_head() -> None:
    examples, features = scene(10, seed=2)
    head, report = fit_project(without_boxes(examples), features, (), (TAGS,), IDENTITY)
    assert (head.boxes, head.labels, head.controls) == (None, (), ("tags",))
    again = ProjectHead.from_bytes(head.to_bytes())
    upright = [features[one.picture][0] for one in examples]
    assert [len(boxes) for boxes in predict(again, upright)] == [0] * 10
    assert predict_choices(again, upright) == predict_choices(head, upright)
    assert report.metrics.keys() == {"accuracy_tags"}
    assert not any(any(counts.boxes) for counts in report.per_picture.values())
    with pytest.raises(ConfigError, match="not a head"):
        Head.from_bytes(head.to_bytes())


def test_a_head_of_boxes_alone_is_written_and_read_as_before() -> None:
    examples, features = scene(6, seed=3)
    alone, _ = fit(examples, features, LABELS, IDENTITY)
    head = ProjectHead.from_bytes(alone.to_bytes())
    assert (head.labels, head.controls, head.small) == (LABELS, (), alone.small)
    assert head.to_bytes() == alone.to_bytes()
    assert predict_choices(head, [features[examples[0].picture][0]]) == [{}]


def test_a_control_can_be_left_out_again() -> None:
    examples, features = scene(8, seed=4)
    head, _ = fit_project(examples, features, LABELS, (KIND, TAGS), IDENTITY)
    left = head.without({"kind"})
    assert left.controls == ("tags",)
    assert ProjectHead.from_bytes(left.to_bytes()).controls == ("tags",)
    assert left.labels == head.labels


def test_pictures_without_boxes_asked_for_teach_no_background() -> None:
    examples, features = scene(8, seed=5)
    mixed = [*examples[:5], *without_boxes(examples[5:])]
    head, _ = fit_project(mixed, features, LABELS, (TAGS,), IDENTITY)
    assert head.boxes is not None
    assert head.boxes.meta.pictures == tuple(one.picture for one in examples[:5])


def test_nothing_accepted_is_refused() -> None:
    examples, features = scene(3, seed=6)
    with pytest.raises(RequestError, match="No accepted box"):
        fit_project(
            without_boxes(examples), features, LABELS, (Question("other", False),), IDENTITY
        )


@pytest.mark.parametrize("data", [b"", b"nothing", b"\x80\x04\x95pickle"])
def test_other_bytes_are_no_head(data: bytes) -> None:
    with pytest.raises(ConfigError, match="not a head"):
        ProjectHead.from_bytes(data)


def test_heads_are_equal_however_often_they_are_fitted() -> None:
    examples, pooled = pictures(several(12, 7), TAGS)
    once, twice = (fit_choices(known(TAGS, examples), pooled)[0] for _ in range(2))
    assert isinstance(once, ChoiceHead)
    assert once.lines.weights.tolist() == twice.lines.weights.tolist()
    assert once.scale.cut.tolist() == twice.scale.cut.tolist()

"""Values learned from made-up features, and the maps that explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.domain import BackboneIdentity, Boxes
from backend.errors import ConfigError
from backend.evaluation.drawn import draw_picture
from backend.labelstudio.ranges import NumberRange
from backend.learning.choices import Question
from backend.learning.examples import Example
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.project_head import (
    ProjectHead,
    fit_project,
    learnable,
    predict,
    predict_choices,
    predict_numbers,
)
from backend.learning.promote import judge_example
from backend.learning.regression import (
    FEWEST,
    Estimate,
    Line,
    Measure,
    Measured,
    NumberHead,
    fit_numbers,
    measured,
    regression_backbone,
)
from backend.vision import saliency
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.choice import EMBEDDED
from backend.vision.look import Looked, look
from backend.vision.saliency import Target
from tests.learning.scenes import LABELS, SIZE_HW, project
from tests.vision.conftest import random_images

IDENTITY = BackboneIdentity("made-up", "0123", 160)
STARS = Measure("stars", NumberRange(1, 5, 1))
METRES = Measure("metres", NumberRange(None, None, 0.1))
CHANNELS = 48


def example(picture: str, **numbers: float) -> Example:
    none = np.zeros((0, 4), np.float32)
    return Example(picture, Boxes.empty(SIZE_HW), none, {}, drawn_on=False, numbers=numbers)


def pooled_of(random: np.random.RandomState, share: float) -> F16Array:
    """Eight channels light up with the value (0..1), among noise."""
    vector = np.abs(random.normal(0.3, 0.05, CHANNELS))
    vector[:8] += share
    return vector.astype(np.float16)


def valued(
    measure: Measure, values: Sequence[float], seed: int
) -> tuple[list[Example], dict[str, F16Array]]:
    random = np.random.RandomState(seed)
    low, high = min(values), max(values)
    examples = [example(f"p{i}", **{measure.control: value}) for i, value in enumerate(values)]
    return examples, {
        f"p{i}": pooled_of(random, (value - low) / (high - low)) for i, value in enumerate(values)
    }


def known(measure: Measure, examples: Sequence[Example]) -> Measured:
    found = measured(measure, examples)
    assert found is not None
    return found


def stars(count: int, seed: int) -> list[float]:
    return [1.0, 5.0, *np.random.RandomState(seed).randint(1, 6, count - 2).astype(float).tolist()]


@pytest.mark.parametrize(
    ("measure", "scale"),
    [pytest.param(STARS, 1.0, id="rating"), pytest.param(METRES, 1000.0, id="number")],
)
def test_what_can_be_told_is_learned(measure: Measure, scale: float) -> None:
    values = [scale * one for one in stars(40, 1)]
    examples, pooled = valued(measure, values, seed=2)
    fitted = fit_numbers(known(measure, examples), pooled)
    assert fitted.head is not None
    assert fitted.error < 0.3 * fitted.error_of_mean
    unseen = [scale * one for one in stars(30, 3)]
    _, others = valued(measure, unseen, seed=4)
    found = fitted.head(list(others.values()))
    misses = [abs(one.value - wanted) for one, wanted in zip(found, unseen, strict=True)]
    assert np.mean(misses) < 0.4 * scale
    assert all(values[0] <= one.value <= values[1] for one in found), "within what was accepted"


def test_scores_are_as_often_right_as_they_say() -> None:
    """Values with noise of one and a half stars: the answer is a step off at most in some."""
    random = np.random.RandomState(5)
    true = random.uniform(0, 1, 240)
    given = np.clip(np.round(1 + 4 * true + random.normal(0, 1.5, 240)), 1, 5)
    vectors = [pooled_of(random, share) for share in true]
    examples = [example(f"p{i}", stars=value) for i, value in enumerate(given[:80].tolist())]
    fitted = fit_numbers(known(STARS, examples), {f"p{i}": vectors[i] for i in range(80)})
    assert fitted.head is not None
    taken = [one.take() for one in fitted.head(vectors[80:])]
    right = [abs(value - wanted) <= 1 for (value, _), wanted in zip(taken, given[80:], strict=True)]
    assert 0.5 < np.mean(right) < 0.95
    assert np.mean([score for _, score in taken]) == pytest.approx(np.mean(right), abs=0.1)
    assert np.mean(list(fitted.right.values())) == pytest.approx(np.mean(right), abs=0.15)


@pytest.mark.parametrize(("count", "lucky"), [(2, 0), (FEWEST - 1, 0), (FEWEST, 10), (40, 10)])
def test_what_cannot_be_told_has_no_answer(count: int, lucky: int) -> None:
    """Values without any relation to the pictures: the mean is as good, but for luck."""
    answered = 0
    for seed in range(40):
        examples, _ = valued(STARS, stars(count, seed), seed)
        random = np.random.RandomState(seed + 1000)
        other = {one.picture: pooled_of(random, random.rand()) for one in examples}
        answered += fit_numbers(known(STARS, examples), other).head is not None
    assert answered <= lucky


def test_few_values_have_no_answer_however_well_they_fit() -> None:
    for count, learned in ((FEWEST - 1, False), (FEWEST, True)):
        examples, pooled = valued(STARS, stars(count, 1), seed=2)
        fitted = fit_numbers(known(STARS, examples), pooled)
        assert fitted.error < fitted.error_of_mean
        assert (fitted.head is not None) == learned


@pytest.mark.parametrize(
    ("values", "pictures"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([3], 0, id="one picture"),
        pytest.param([3, 3], 0, id="one value"),
        pytest.param([3, 4], 2, id="two values"),
        pytest.param([3, 4, 9], 2, id="one that the range has no more"),
        pytest.param([3, 9], 0, id="one that is left"),
    ],
)
def test_two_different_values_are_needed(values: list[float], pictures: int) -> None:
    examples = [example(f"p{i}", stars=value) for i, value in enumerate(values)]
    found = measured(STARS, examples)
    assert (len(found.pictures) if found else 0) == pictures
    assert learnable([STARS, METRES], examples) == ((STARS,) if pictures else ())


@pytest.mark.parametrize(
    ("value", "misses", "expected"),
    [
        # One more hit and one more miss than there were.
        pytest.param(3.0, [-2, -1, 0, 1, 2], (3, 4 / 7), id="three of five"),
        pytest.param(3.4, [], (3, 1 / 2), id="nothing known"),
        # 4.6 is answered 5; with the misses 2.6, 4.6 and 6.6: 3, 5 and 5.
        pytest.param(4.6, [-2, 0, 2], (5, 3 / 5), id="at the end of the range"),
    ],
)
def test_take(value: float, misses: list[float], expected: tuple[float, float]) -> None:
    one = Estimate(value, np.array(misses, np.float32), STARS.allowed)
    assert one.take() == pytest.approx(expected)


def test_a_range_that_was_changed_is_kept_to() -> None:
    one = Estimate(4.6, np.zeros(3, np.float32), STARS.allowed)
    assert one.take(NumberRange(1, 3, 1)) == pytest.approx((3, 4 / 5))


def test_right_is_one_step_off_at_most() -> None:
    one = Estimate(3.4, np.zeros(0, np.float32), STARS.allowed)
    assert [one.right(value) for value in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    counts = judge_example(Boxes.empty(SIZE_HW), {}, example("p", stars=5, other=1), {"stars": one})
    assert counts.answers == {"stars": False}


# ---- in the head, together with boxes and choices


def scene(
    count: int, seed: int
) -> tuple[list[Example], dict[str, tuple[PictureFeatures, PictureFeatures]]]:
    """Scenes whose number is the share of the picture that boxes cover, in percent."""
    examples, features = project(count, seed)
    area = [
        float(np.prod(one.boxes.xyxy_px[:, 2:] - one.boxes.xyxy_px[:, :2], 1).sum())
        for one in examples
    ]
    return [
        replace(one, choices={"kind": (str(len(one.boxes)),)}, numbers={"covered": covered / 600})
        for one, covered in zip(examples, area, strict=True)
    ], features


COVERED = Measure("covered", NumberRange(0, 100, 1))
KIND = Question("kind", multiple=False)


@pytest.mark.slow
def test_boxes_choices_and_numbers_are_one_head() -> None:
    examples, features = scene(16, seed=1)
    head, report = fit_project(examples, features, LABELS, (KIND, COVERED), IDENTITY)
    assert (head.labels, head.controls) == (LABELS, ("kind", "covered"))
    again = ProjectHead.from_bytes(head.to_bytes())
    assert again.to_bytes() == head.to_bytes()
    upright = [features[one.picture][0] for one in examples]
    for ours, theirs in zip(
        predict_numbers(again, upright), predict_numbers(head, upright), strict=True
    ):
        assert ours["covered"].take() == theirs["covered"].take()
    assert predict_choices(again, upright) == predict_choices(head, upright)
    assert len(predict(again, upright)) == len(upright)
    assert report.metrics["error_covered"] < report.metrics["error_of_mean_covered"]
    assert all(one.answers.keys() == {"kind", "covered"} for one in report.per_picture.values())
    assert head.without({"covered"}).controls == ("kind",)


def test_numbers_alone_are_a_head() -> None:
    examples, features = scene(16, seed=1)
    asked = [example(one.picture, **one.numbers) for one in examples]
    head, report = fit_project(asked, features, (), (COVERED,), IDENTITY)
    assert (head.boxes, head.controls) == (None, ("covered",))
    again = ProjectHead.from_bytes(head.to_bytes())
    upright = [features[one.picture][0] for one in asked]
    assert [len(boxes) for boxes in predict(again, upright)] == [0] * len(asked)
    assert again.controls == ("covered",)
    assert report.metrics.keys() == {"error_covered", "error_of_mean_covered"}


def test_a_number_that_cannot_be_told_is_left_out_and_its_metrics_stay() -> None:
    examples, features = scene(12, seed=2)
    asked = [example(one.picture, covered=float(i % 2)) for i, one in enumerate(examples)]
    head, report = fit_project(asked, features, (), (COVERED,), IDENTITY)
    assert head.controls == ()
    assert report.metrics["error_covered"] >= 0.9 * report.metrics["error_of_mean_covered"]
    assert report.per_picture == {}


# ---- maps


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load_backbone(EMBEDDED, None, "cpu")


def head_of(weights: np.ndarray, offset: float, control: str = "stars") -> NumberHead:
    line = Line(weights.astype(np.float32), offset, 0.0, 9.0)
    return NumberHead(Measure(control, STARS.allowed), line, np.zeros(0, np.float32))


def test_a_map_adds_up_to_the_value(embedded: Backbone) -> None:
    images = random_images(2, 64)
    cells = embedded.features(images).cells_bchw
    random = np.random.RandomState(0)
    heads = [
        head_of(random.normal(0, 1, cells.shape[1]), at, name) for at, name in ((2, "a"), (5, "b"))
    ]
    explained = regression_backbone(embedded, heads)
    assert [one.name for one in explained.classes] == ["a", "b"]
    features = explained.features(images)
    pooled = cells.mean((2, 3)).numpy()
    by_line = np.stack([pooled @ one.line.weights + one.line.offset for one in heads], 1)
    np.testing.assert_allclose(explained.logits(features).numpy(), by_line, atol=1e-3)
    index = torch.tensor([[1], [1]])
    maps, bias = explained.class_maps(features, index), explained.class_bias(features, index)
    np.testing.assert_allclose((maps.mean((2, 3)) + bias)[:, 0].numpy(), by_line[:, 1], atol=1e-3)


def looked_at(backbone: Backbone, images_u8: np.ndarray) -> Looked:
    return look(backbone, np.ascontiguousarray(images_u8, np.uint8))


def test_ram_is_signed_and_stretched(embedded: Backbone) -> None:
    images = random_images(1, 96).permute(0, 2, 3, 1).numpy()
    channels = embedded.features(random_images(1, 96)).cells_bchw.shape[1]
    weights = np.random.RandomState(1).normal(0, 1, channels)
    up, down = (
        saliency.get("ram")
        .draw(
            looked_at(regression_backbone(embedded, [head_of(sign * weights, 0)]), images),
            Target(torch.tensor([[0]]), torch.ones(1, 1)),
        )
        .values_bhw
        for sign in (1, -1)
    )
    np.testing.assert_allclose(up, 1 - down, atol=1e-5)
    assert (up.min(), up.max()) == (0, 1)


def test_ram_of_a_class_of_the_network_is_its_activation_map(embedded: Backbone) -> None:
    looked = looked_at(embedded, random_images(2, 96).permute(0, 2, 3, 1).numpy())
    target = Target(torch.tensor([[3], [700]]), torch.ones(2, 1))
    ram, cam = (saliency.get(name).draw(looked, target).values_bhw for name in ("ram", "cam"))
    assert np.array_equal(ram, cam)


@pytest.mark.slow
def test_the_map_of_a_learned_number_lies_on_what_raises_it(embedded: Backbone) -> None:
    """Five stars where a cat is drawn, one where there is none; there is a ball in each."""
    share = (0.4, 0.55)
    drawn = [
        draw_picture(seed, (192, 192), share=share, names=("ball", "cat")[: 1 + seed % 2])
        for seed in range(84)
    ]
    learned, others = drawn[:60], drawn[60:]
    unseen = [one for one in others if one.boxes.label == ("ball", "cat")]
    squares_u8 = np.stack([one.rgb_u8 for one in learned])
    cells = embedded.features(torch.from_numpy(squares_u8).permute(0, 3, 1, 2)).cells_bchw
    pooled = {f"p{i}": one.mean((1, 2)).half().numpy() for i, one in enumerate(cells)}
    examples = [
        example(f"p{i}", stars=5 if "cat" in one.boxes.label else 1)
        for i, one in enumerate(learned)
    ]
    fitted = fit_numbers(known(STARS, examples), pooled)
    assert fitted.head is not None
    explained = regression_backbone(embedded, [fitted.head])
    target = Target(torch.zeros((len(unseen), 1), dtype=torch.int64), torch.ones(len(unseen), 1))
    looked = looked_at(explained, np.stack([one.rgb_u8 for one in unseen]))
    maps = saliency.get("ram").draw(looked, target).values_bhw
    nearer = 0
    for values_hw, one in zip(maps, unseen, strict=True):
        row, column = np.unravel_index(int(values_hw.argmax()), values_hw.shape)
        peak = (np.array([column, row]) + 0.5) / len(values_hw) * 192
        centres = (one.boxes.xyxy_px[:, :2] + one.boxes.xyxy_px[:, 2:]) / 2
        from_ball, from_cat = np.hypot(*(centres - peak).T)
        nearer += from_cat < from_ball
    assert len(unseen) >= 9
    assert nearer >= 0.8 * len(unseen)


def test_nothing_to_explain_is_refused(embedded: Backbone) -> None:
    with pytest.raises(ConfigError, match="no Rating or Number"):
        regression_backbone(embedded, [])

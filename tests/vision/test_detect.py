"""From pictures to labelled boxes with a seeded network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.domain import UNNAMED, Picture
from backend.errors import LabelConfigInvalid, ShapeError, UnknownName
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.detect import (
    DetectOptions,
    LabelQuery,
    Looked,
    classify,
    detect,
    look,
    prepare,
)
from tests.vision.conftest import as_picture, drawn_picture

RACCOON = LabelQuery("Raccoon", ("raccoon",))
UNKNOWN = LabelQuery("Thing", ("no such class",))


def see(backbone: Backbone, *pictures: Picture) -> Looked:
    squares = [prepare(picture, backbone.size_px) for picture in pictures]
    side = backbone.size_px
    return look(backbone, np.stack(squares) if squares else np.zeros((0, side, side, 3), np.uint8))


def likeliest(looked: Looked, row: int = 0) -> LabelQuery:
    """A label whose name is that of the class the network sees."""
    index = int(looked.logits[row].argmax())
    return LabelQuery("Seen", (looked.backbone.classes[index].wnid,))


def sure(looked: Looked) -> Looked:
    """The same look with a network that is sure of its likeliest class."""
    return Looked(looked.backbone, looked.images_u8, looked.features, looked.logits * 100)


@pytest.mark.parametrize("method", saliency.names())
def test_a_box_on_the_picture_named_by_its_class(tiny: Backbone, method: str) -> None:
    picture = drawn_picture()
    looked = sure(see(tiny, picture))
    (found,) = detect(looked, [picture], [likeliest(looked), UNKNOWN], DetectOptions(method))
    assert found.label == ("Seen",)
    assert found.size_hw == (120, 160)
    assert 0 < float(found.score[0]) <= 1


@pytest.mark.parametrize("method", saliency.names())
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([], UNNAMED, id="no-label"),
        pytest.param([RACCOON], "Raccoon", id="one"),
        pytest.param([RACCOON, UNKNOWN], UNNAMED, id="several"),
    ],
)
def test_where_no_class_matches(
    tiny: Backbone, method: str, labels: list[LabelQuery], expected: str
) -> None:
    picture = drawn_picture()
    (found,) = detect(see(tiny, picture), [picture], labels, DetectOptions(method))
    assert found.label == (expected,)
    assert float(found.score[0]) > 0


def test_a_batch_gives_what_single_pictures_give(tiny: Backbone) -> None:
    pictures = [
        drawn_picture(),
        drawn_picture((200, 90), (10, 20, 60, 80)),
        as_picture(np.full((30, 30, 3), 128, np.uint8)),
        drawn_picture((64, 64), (30, 30, 60, 60)),
    ]
    labels = [likeliest(see(tiny, pictures[0])), RACCOON]
    together = detect(see(tiny, *pictures), pictures, labels, DetectOptions())
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = detect(see(tiny, picture), [picture], labels, DetectOptions())
        assert found.label == alone.label
        np.testing.assert_allclose(found.xyxy_px, alone.xyxy_px, atol=1.5)
        np.testing.assert_allclose(found.score, alone.score, atol=1e-2)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("method", saliency.names())
def test_a_picture_of_one_colour_has_no_box(tiny: Backbone, method: str, value: int) -> None:
    picture = as_picture(np.full((50, 70, 3), value, np.uint8))
    (found,) = detect(see(tiny, picture), [picture], [RACCOON], DetectOptions(method))
    assert len(found) == 0
    assert found.size_hw == (50, 70)


@pytest.mark.parametrize("method", saliency.names())
@pytest.mark.parametrize("size_hw", [(1, 1), (8000, 50), (2, 300)], ids=str)
def test_pictures_of_any_shape(tiny: Backbone, method: str, size_hw: tuple[int, int]) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    picture = as_picture(rgb)
    (found,) = detect(see(tiny, picture), [picture], [RACCOON], DetectOptions(method))
    assert found.size_hw == size_hw  # Boxes itself refuses boxes outside


def test_no_pictures(tiny: Backbone) -> None:
    assert detect(see(tiny), [], [RACCOON], DetectOptions()) == []
    assert classify(see(tiny), [RACCOON]) == []


def test_threshold_and_count_bound_what_comes_back(tiny: Backbone) -> None:
    picture = drawn_picture()
    looked = see(tiny, picture)
    (found,) = detect(looked, [picture], [RACCOON], DetectOptions())
    score = float(found.score[0])
    above = DetectOptions(score_threshold=score + 0.01)
    assert len(detect(looked, [picture], [RACCOON], above)[0]) == 0
    assert len(detect(looked, [picture], [RACCOON], DetectOptions(max_boxes=0))[0]) == 0


def test_the_score_is_the_geometric_mean_of_contrast_and_probability(tiny: Backbone) -> None:
    picture = drawn_picture()
    plain = see(tiny, picture)
    # Half and half between two classes, all others out of the question.
    first, second = (int(i) for i in plain.logits[0].topk(2).indices)
    logits = torch.full_like(plain.logits, -50)
    logits[0, [first, second]] = 0
    halves = Looked(tiny, plain.images_u8, plain.features, logits)
    whole = torch.full_like(plain.logits, -50)
    whole[0, first] = 0
    label = LabelQuery("Seen", (tiny.classes[first].wnid,))
    (half_sure,) = detect(halves, [picture], [label], DetectOptions())
    certain = Looked(tiny, plain.images_u8, plain.features, whole)
    (all_sure,) = detect(certain, [picture], [label], DetectOptions())
    ratio = float(half_sure.score[0] / all_sure.score[0])
    assert ratio == pytest.approx(0.5**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (DetectOptions("camm"), UnknownName),
        (DetectOptions(box_rule="boxes"), UnknownName),
        (DetectOptions(extra={"model_threshold": "x"}), LabelConfigInvalid),
    ],
    ids=["saliency", "rule", "option"],
)
def test_wrong_options_are_told(
    tiny: Backbone, options: DetectOptions, error: type[Exception]
) -> None:
    picture = drawn_picture()
    with pytest.raises(error):
        detect(see(tiny, picture), [picture], [RACCOON], options)


def test_pictures_and_look_must_agree(tiny: Backbone) -> None:
    with pytest.raises(ShapeError, match="1 pictures were looked at, 0 given"):
        detect(see(tiny, drawn_picture()), [], [RACCOON], DetectOptions())


def test_classify_gives_the_labels_the_network_can_speak_for(tiny: Backbone) -> None:
    picture = drawn_picture()
    looked = see(tiny, picture)
    pair = LabelQuery("Pair", (tiny.classes[3].wnid, tiny.classes[8].wnid))
    (answer,) = classify(looked, [pair, RACCOON])
    expected = float(looked.probability[0, [3, 8]].sum())
    assert answer == {"Pair": pytest.approx(expected, rel=1e-5)}

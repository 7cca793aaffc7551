"""Boxes found without a label, named by the cells inside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.domain import UNNAMED, Boxes
from backend.errors import ShapeError
from backend.vision.architectures import PooledLinearHead
from backend.vision.backbones import Backbone, Features
from backend.vision.detect import DetectOptions, LabelQuery, detect
from backend.vision.evidence import SEEN
from backend.vision.look import Looked
from backend.vision.objects import SURE, Objects, Sight, find, inside, name_objects, rename
from tests.vision.conftest import drawn_picture, random_images

SIZE_HW = (100, 200)
LEFT, RIGHT = (0, 0, 100, 100), (100, 0, 200, 100)
FIRST, SECOND = 7, 300
UNKNOWN, OTHER = LabelQuery("Thing", ("no such class",)), LabelQuery("Stuff", ("nor such",))


def halves(backbone: Backbone, left: int, right: int, strength: float = 3.0) -> Looked:
    """A picture of 4 x 4 cells whose left half shows one class, the right half another."""
    head = backbone.head
    assert isinstance(head, PooledLinearHead)
    weight = head.linear.weight
    shown = [weight[index] / weight[index].norm() * strength for index in (left, right)]
    cells = torch.stack([shown[0], shown[0], shown[1], shown[1]], 1)[None, :, None]
    features = Features(cells.expand(1, -1, 4, 4).contiguous() * 10, 128)
    return Looked(backbone, random_images(1), features, backbone.logits(features))


def boxes(*corners: tuple[float, float, float, float], score: float = 0.5) -> Boxes:
    xyxy_px = np.array(corners, np.float32).reshape(-1, 4)
    scores = np.full(len(corners), score, np.float32)
    return Boxes(xyxy_px, scores, (UNNAMED,) * len(corners), SIZE_HW)


def query(backbone: Backbone, value: str, index: int) -> LabelQuery:
    return LabelQuery(value, (backbone.classes[index].wnid,))


def test_each_box_is_named_by_what_lies_inside(tiny_pooled: Backbone) -> None:
    looked = halves(tiny_pooled, FIRST, SECOND)
    labels = [query(tiny_pooled, "First", FIRST), query(tiny_pooled, "Second", SECOND)]
    objects = Objects((boxes(LEFT, RIGHT),), looked)
    (found,) = name_objects(objects, labels, DetectOptions())
    by_name = dict(zip(found.label, found.xyxy_px.tolist(), strict=True))
    assert by_name == {"First": list(LEFT), "Second": list(RIGHT)}


def test_the_score_is_that_of_the_box_times_that_of_the_name(tiny_pooled: Backbone) -> None:
    looked = halves(tiny_pooled, FIRST, SECOND, strength=0.4)
    found = boxes(LEFT)
    (probability,) = inside(looked, 0, found)
    # By hand: the head on the mean of the two columns of cells that the box covers.
    mean = looked.features.cells_bchw[:, :, :, :2].mean((2, 3))
    logits = tiny_pooled.logits(Features(mean[:, :, None, None], 32))
    expected = torch.softmax(logits, 1)[0]
    np.testing.assert_allclose(probability, expected.numpy(), rtol=1e-4)
    assert 0.05 < float(expected[FIRST]) < 0.99, "a name that is likely, not certain"
    (named,) = name_objects(
        Objects((found,), looked), [query(tiny_pooled, "First", FIRST)], DetectOptions()
    )
    assert named.label == ("First",)
    assert float(named.score[0]) == pytest.approx(0.5 * float(expected[FIRST]), rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([], UNNAMED, id="no label"),
        pytest.param([UNKNOWN], "Thing", id="the only one"),
        pytest.param([UNKNOWN, OTHER], UNNAMED, id="several are left"),
    ],
)
def test_a_name_that_no_class_has(
    tiny_pooled: Backbone, labels: list[LabelQuery], expected: str
) -> None:
    objects = Objects((boxes(LEFT),), halves(tiny_pooled, FIRST, SECOND))
    (found,) = name_objects(objects, labels, DetectOptions())
    assert found.label == (expected,)
    assert found.score.tolist() == [0.5], "the network has no say in the name"


def test_a_box_without_evidence_gets_the_label_that_is_left(tiny_pooled: Backbone) -> None:
    objects = Objects((boxes(LEFT, RIGHT),), halves(tiny_pooled, FIRST, SECOND))
    labels = [query(tiny_pooled, "First", FIRST), UNKNOWN]
    (found,) = name_objects(objects, labels, DetectOptions())
    by_name = dict(zip(found.label, found.xyxy_px.tolist(), strict=True))
    assert by_name == {"First": list(LEFT), "Thing": list(RIGHT)}


@pytest.mark.parametrize(
    "corners",
    [(0, 0, 1, 1), (199, 99, 200, 100), (200, 100, 200, 100), (0, 0, 200, 100), (60, 0, 61, 100)],
    ids=str,
)
def test_every_box_covers_a_cell(
    tiny_pooled: Backbone, corners: tuple[float, float, float, float]
) -> None:
    (probability,) = inside(halves(tiny_pooled, FIRST, SECOND), 0, boxes(corners))
    assert probability.sum() == pytest.approx(1, rel=1e-4)


def test_a_picture_of_one_colour_has_no_box(tiny_pooled: Backbone) -> None:
    looked = halves(tiny_pooled, FIRST, SECOND)
    grey = Looked(
        tiny_pooled, torch.full_like(looked.images_u8, 90), looked.features, looked.logits
    )
    (found,) = name_objects(Objects((boxes(LEFT),), grey), [UNKNOWN], DetectOptions())
    assert (len(found), found.size_hw) == (0, SIZE_HW)


def test_threshold_and_count_bound_what_comes_back(tiny_pooled: Backbone) -> None:
    objects = Objects((boxes(LEFT, RIGHT),), halves(tiny_pooled, FIRST, SECOND))
    (most,) = name_objects(objects, [UNKNOWN], DetectOptions(max_boxes=1))
    assert most.xyxy_px.tolist() == [list(LEFT)]
    (none,) = name_objects(objects, [UNKNOWN], DetectOptions(score_threshold=0.51))
    assert len(none) == 0


def test_other_methods_and_backbones_without_objects_draw_maps(tiny: Backbone) -> None:
    picture = drawn_picture(SIZE_HW)
    images = random_images(1)
    cells = tiny.features(images)
    looked = Looked(tiny, images, cells, tiny.logits(cells))
    objects = Objects((boxes(LEFT),), looked)
    (mapped,) = detect(looked, [picture], [UNKNOWN], DetectOptions("cam"))
    for sight, method in (
        (Sight(looked, objects), "cam"),
        (Sight(looked), "objects"),
        (Sight(looked), "cam"),
    ):
        (found,) = find(sight, [picture], [UNKNOWN], DetectOptions(method))
        assert found.xyxy_px.tolist() == mapped.xyxy_px.tolist() != [list(LEFT)]
    (found,) = find(Sight(looked, objects), [picture], [UNKNOWN], DetectOptions())
    assert found.xyxy_px.tolist() == [list(LEFT)], "objects are what is looked for by default"


def test_pictures_may_be_chosen_and_repeat(tiny_pooled: Backbone) -> None:
    one, other = halves(tiny_pooled, FIRST, SECOND), halves(tiny_pooled, SECOND, FIRST)
    cells = torch.cat([one.features.cells_bchw, other.features.cells_bchw])
    both = Looked(
        tiny_pooled,
        torch.cat([one.images_u8, other.images_u8]),
        Features(cells, 128),
        torch.cat([one.logits, other.logits]),
    )
    sight = Sight(both, Objects((boxes(LEFT), boxes(RIGHT)), both)).select([1, 0, 1])
    labels = [query(tiny_pooled, "First", FIRST), query(tiny_pooled, "Second", SECOND)]
    assert sight.objects is not None
    found = name_objects(sight.objects, labels, DetectOptions())
    assert [one.label for one in found] == [("First",)] * 3
    assert [one.xyxy_px[0].tolist() for one in found] == [list(RIGHT), list(LEFT), list(RIGHT)]


def test_pictures_and_boxes_must_agree(tiny_pooled: Backbone) -> None:
    with pytest.raises(ShapeError, match="1 pictures were looked at, boxes of 0 given"):
        Objects((), halves(tiny_pooled, FIRST, SECOND))


@pytest.mark.parametrize(
    ("strength", "named", "few", "expected"),
    [
        pytest.param(3.0, "Thing", False, ("First", "Thing"), id="sure of it"),
        pytest.param(0.45, "Thing", False, ("Thing", "Thing"), id="seen a little"),
        pytest.param(0.45, "Thing", True, ("Thing", "Thing"), id="against a label of no class"),
        pytest.param(0.45, "Second", False, ("Second", "Second"), id="against many pictures"),
        pytest.param(0.45, "Second", True, ("First", "Second"), id="against few pictures"),
    ],
)
def test_boxes_of_what_knows_some_labels_are_named_again(
    tiny_pooled: Backbone, strength: float, named: str, few: bool, expected: tuple[str, str]
) -> None:
    looked = halves(tiny_pooled, FIRST, SECOND, strength)
    first, second = query(tiny_pooled, "First", FIRST), query(tiny_pooled, "Second", SECOND)
    before = Boxes(boxes(LEFT, RIGHT).xyxy_px, np.full(2, 0.5, np.float32), (named,) * 2, SIZE_HW)
    sure = float(inside(looked, 0, before)[0][FIRST])
    assert (sure >= SURE) == (strength == 3.0)
    assert sure >= SEEN
    labels, known = [first, second, UNKNOWN], frozenset({"Second", "Thing"})
    found = rename(looked, 0, before, labels, known, few=few)
    assert found.label == expected
    share = sure if expected[0] == "First" else 1
    assert found.score.tolist() == pytest.approx([0.5 * share, 0.5], rel=1e-4)
    assert before.label == (named,) * 2, "the boxes that were given stay as they are"


def test_a_label_that_is_left_is_believed_against_few_pictures(tiny_pooled: Backbone) -> None:
    looked = halves(tiny_pooled, FIRST, SECOND)
    labels = [query(tiny_pooled, "First", FIRST), UNKNOWN]
    given = Boxes(boxes(RIGHT).xyxy_px, np.full(1, 0.5, np.float32), ("First",), SIZE_HW)
    known = frozenset({"First"})
    assert rename(looked, 0, given, labels, known, few=True).label == ("Thing",)
    assert rename(looked, 0, given, labels, known, few=False).label == ("First",)

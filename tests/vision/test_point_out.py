"""Zero-shot key points: the peak of a label's map, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.domain import Picture
from backend.errors import ShapeError, UnknownName
from backend.vision.architectures import PooledLinearHead
from backend.vision.backbones import Backbone, Features
from backend.vision.detect import DetectOptions, LabelQuery
from backend.vision.look import Looked
from backend.vision.point_out import point_out
from tests.vision.conftest import random_images

SHOWN, OTHER = 7, 300
PICTURE = Picture(np.zeros((100, 200, 3), np.uint8), (100, 200), "p")


def lit(backbone: Backbone, row: int, column: int) -> Looked:
    """A picture of 4 x 4 cells, one of which shows a class."""
    head = backbone.head
    assert isinstance(head, PooledLinearHead)
    weight = head.linear.weight[SHOWN]
    cells = torch.zeros(1, len(weight), 4, 4)
    cells[0, :, row, column] = 600 * weight / weight.norm()
    features = Features(cells, 128)
    return Looked(backbone, random_images(1), features, backbone.logits(features))


def query(backbone: Backbone, value: str, index: int) -> LabelQuery:
    return LabelQuery(value, (backbone.classes[index].wnid,))


def test_a_label_that_names_a_class_gets_the_peak_of_its_map(tiny_pooled: Backbone) -> None:
    looked = lit(tiny_pooled, row=1, column=2)
    labels = [
        query(tiny_pooled, "Shown", SHOWN),
        query(tiny_pooled, "Other", OTHER),
        LabelQuery("left elbow", ("left elbow",)),
    ]
    (found,) = point_out(looked, [PICTURE], labels, DetectOptions())
    assert found.label == ("Shown",)
    # The middle of the third column and the second row of 4 x 4, moved by at most half a cell.
    assert found.xy_px[0] == pytest.approx([125, 37.5], abs=25)
    assert found.score[0] == pytest.approx(float(looked.probability[0, SHOWN]))
    assert found.size_hw == (100, 200)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([], id="no label"),
        pytest.param([LabelQuery("left elbow", ("left elbow",))], id="one, by elimination"),
        pytest.param([LabelQuery(name, (name,)) for name in ("knee pit", "hip")], id="two"),
    ],
)
def test_a_label_that_names_none_is_left_to_people(
    tiny_pooled: Backbone, labels: list[LabelQuery]
) -> None:
    (found,) = point_out(lit(tiny_pooled, 0, 0), [PICTURE], labels, DetectOptions())
    assert len(found) == 0


def test_wrong_calls_are_refused(tiny_pooled: Backbone) -> None:
    looked = lit(tiny_pooled, 0, 0)
    with pytest.raises(ShapeError):
        point_out(looked, [], [], DetectOptions())
    with pytest.raises(UnknownName):
        point_out(looked, [PICTURE], [], DetectOptions(saliency="no such map"))

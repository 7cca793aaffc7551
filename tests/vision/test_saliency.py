"""Maps, against autograd and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import ShapeError
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.look import Looked, look
from backend.vision.saliency import Target
from backend.vision.saliency.objectness import feature_norm
from backend.vision.saliency.stretch import stretch
from tests.vision.conftest import SIDE_PX, random_images, seeded_model


def looked_at(backbone: Backbone, count: int) -> Looked:
    return look(backbone, random_images(count).permute(0, 2, 3, 1).contiguous().numpy())


def target(*classes: int) -> Target:
    index = torch.tensor(classes)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([[3.0]], [[0.0]], id="one-cell-is-flat"),
        pytest.param([[2.0, 2.0]], [[0.0, 0.0]], id="flat"),
        pytest.param([[1e6, 1e6 + 0.1]], [[0.0, 0.0]], id="flat-but-for-rounding"),
        pytest.param([[-1.0, 0.0, 3.0]], [[0.0, 0.25, 1.0]], id="negative"),
    ],
)
def test_stretch(values: list[list[float]], expected: list[list[float]]) -> None:
    torch.testing.assert_close(stretch(torch.tensor([values])), torch.tensor([expected]))


def test_feature_norm_by_hand() -> None:
    cells = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(feature_norm(cells), torch.tensor([[[5.0]]]))


@pytest.mark.parametrize("name", saliency.names())
@pytest.mark.slow
def test_maps_lie_between_0_and_1_and_a_batch_gives_what_single_pictures_give(
    name: str, tiny: Backbone
) -> None:
    method = saliency.get(name)
    looked = looked_at(tiny, 3)
    classes = (5, 700, 5)
    for draw in (method.draw, method.without_class):
        together = draw(looked, target(*classes)).values_bhw
        assert together.min() == 0
        assert together.max() == 1
        assert draw(looked.select(torch.arange(0)), _no_target()).values_bhw.shape[0] == 0
        for i, index in enumerate(classes):
            single = draw(looked.select(torch.tensor([i])), target(index)).values_bhw[0]
            np.testing.assert_allclose(together[i], single, atol=2e-3)


def _no_target() -> Target:
    return Target(torch.zeros((0, 1), dtype=torch.int64), torch.zeros((0, 1)))


def test_cam_is_the_weighted_sum_of_class_maps(tiny_pooled: Backbone) -> None:
    looked = looked_at(tiny_pooled, 1)
    both = Target(torch.tensor([[4, 9]]), torch.tensor([[0.75, 0.25]]))
    maps = tiny_pooled.class_maps(looked.features, both.class_index)[0]
    expected = stretch((0.75 * maps[0] + 0.25 * maps[1])[None])[0]
    drawn = saliency.get("cam").draw(looked, both).values_bhw[0]
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-6)


def test_gradient_equals_a_naive_one_picture_after_the_other() -> None:
    from tests.vision.conftest import seeded_backbone

    backbone = seeded_backbone("squeezenet1_1")
    model = seeded_model("squeezenet1_1")
    looked = looked_at(backbone, 2)
    classes = (5, 700)
    drawn = saliency.get("gradient").draw(looked, target(*classes)).values_bhw
    assert drawn.shape == (2, SIDE_PX, SIDE_PX)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for i, index in enumerate(classes):
        pixels = ((looked.images_u8[i].float() / 255 - mean) / std)[None].requires_grad_(True)
        model(pixels)[0, index].backward()
        assert pixels.grad is not None
        naive = pixels.grad[0].abs().max(0).values
        naive = (naive - naive.min()) / (naive.max() - naive.min())
        np.testing.assert_allclose(drawn[i], naive.numpy(), atol=1e-3)


def test_gradient_of_one_picture_does_not_depend_on_its_neighbours_class(tiny: Backbone) -> None:
    looked = looked_at(tiny, 2)
    draw = saliency.get("gradient").draw
    first = draw(looked, target(5, 700)).values_bhw
    second = draw(looked, target(5, 3)).values_bhw
    np.testing.assert_allclose(first[0], second[0], atol=1e-4)
    assert np.abs(first[1] - second[1]).max() > 0.05


def test_a_target_needs_a_weight_for_every_class() -> None:
    with pytest.raises(ShapeError):
        Target(torch.zeros((1, 2), dtype=torch.int64), torch.ones((1, 1)))


def test_gradients_are_drawn_at_the_training_side(tiny: Backbone) -> None:
    looked = look(tiny, random_images(1, 256).permute(0, 2, 3, 1).contiguous().numpy())
    drawn = saliency.get("gradient").draw(looked, target(5)).values_bhw
    assert drawn.shape == (1, 224, 224)

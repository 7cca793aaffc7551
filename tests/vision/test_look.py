"""Pictures are prepared and looked at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from backend.errors import ShapeError
from backend.vision.backbones import Backbone
from backend.vision.look import look, prepare
from tests.vision.conftest import SIDE_PX, as_picture, random_images


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (64, 64), (8000, 50), (63, 65)], ids=str)
def test_prepare_gives_a_square_of_any_picture(size_hw: tuple[int, int]) -> None:
    rgb = np.full((*size_hw, 3), (10, 20, 30), np.uint8)
    square = prepare(as_picture(rgb), SIDE_PX)
    assert square.shape == (SIDE_PX, SIDE_PX, 3)
    assert square.dtype == np.uint8
    assert square.flags.c_contiguous
    assert (square == (10, 20, 30)).all()


def test_prepare_keeps_left_left_and_top_top() -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[:50, :100, 0] = 200
    square = prepare(as_picture(rgb), 10)
    # Each pixel is a mean that reaches half a pixel into its neighbours.
    assert (square[:4, :4, 0] == 200).all()
    assert square[6:].max() == 0
    assert square[:, 6:].max() == 0


@pytest.mark.parametrize(
    "size_hw", [(37, 53), (64, 64), (75, 200), (20, 300), (129, 64), (500, 375)], ids=str
)
def test_prepare_is_the_bilinear_resize_with_which_networks_are_trained(
    size_hw: tuple[int, int],
) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    expected = Image.fromarray(rgb).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    apart = np.abs(prepare(as_picture(rgb), SIDE_PX).astype(int) - np.asarray(expected, int))
    assert apart.max() <= 1


def test_look_agrees_with_the_backbone_and_select_with_its_parts(tiny: Backbone) -> None:
    images = random_images(3)
    looked = look(tiny, images.permute(0, 2, 3, 1).contiguous().numpy())
    torch.testing.assert_close(looked.logits, tiny.logits(tiny.features(images)))
    torch.testing.assert_close(looked.probability.sum(1), torch.ones(3))
    chosen = looked.select(torch.tensor([2, 0, 2]))
    assert len(chosen) == 3
    assert torch.equal(chosen.images_u8[1], images[0])
    assert torch.equal(chosen.logits, looked.logits[[2, 0, 2]])
    assert torch.equal(chosen.features.cells_bchw, looked.features.cells_bchw[[2, 0, 2]])


def test_look_refuses_other_shapes(tiny: Backbone) -> None:
    with pytest.raises(ShapeError):
        look(tiny, np.zeros((1, 3, 8, 8), np.uint8))
    assert len(look(tiny, np.zeros((0, SIDE_PX, SIDE_PX, 3), np.uint8))) == 0


@pytest.mark.parametrize(
    ("colour", "levels", "shown"),
    [
        pytest.param((0, 0, 0), 0, False, id="black"),
        pytest.param((255, 0, 0), 0, False, id="red"),
        pytest.param((200, 30, 90), 8, False, id="noise-of-a-file"),
        pytest.param((200, 30, 90), 9, True, id="something"),
    ],
)
def test_a_picture_of_one_colour_shows_nothing(
    colour: tuple[int, int, int], levels: int, shown: bool, tiny: Backbone
) -> None:
    images = np.full((4, SIDE_PX, SIDE_PX, 3), colour, np.uint8)
    images[1, 5, 7, 2] += levels
    images[2, 16, 32, 2] += levels
    images[3] = np.random.default_rng(0).integers(0, 256, images[3].shape)
    assert look(tiny, images).shows_something() == [False, shown, shown, True]

"""Maps averaged over views, against the mean of single maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import FloatArray
from backend.errors import LabelConfigInvalid
from backend.vision import saliency
from backend.vision.backbones import Backbone, Features
from backend.vision.detect import DetectOptions, detect
from backend.vision.look import Looked, look
from backend.vision.saliency import Target
from backend.vision.saliency.averaged import seen_again
from backend.vision.saliency.stretch import stretch
from tests.vision.conftest import SIDE_PX, as_picture, random_images

CLASSES = (5, 700, 5)


def looked_at(backbone: Backbone, images_u8: Tensor) -> Looked:
    return look(backbone, images_u8.permute(0, 2, 3, 1).contiguous().numpy())


def target(*classes: int) -> Target:
    index = torch.tensor(classes, dtype=torch.int64)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


def cam(looked: Looked, *classes: int, **given: str) -> FloatArray:
    return saliency.get("cam").draw(looked, target(*classes), given).values_bhw


def passes(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sides of the pictures that the network sees from now on."""
    seen: list[int] = []
    cells = backbone.runtime.cells

    def count(images_u8: Tensor) -> Tensor:
        seen.append(int(images_u8.shape[-1]))
        return cells(images_u8)

    monkeypatch.setattr(backbone.runtime, "cells", count)
    return seen


@pytest.mark.parametrize(
    "given", [{}, {"model_flip": "false"}, {"model_scales": "1"}, {"flip": "no", "scales": "1.0"}]
)
def test_the_defaults_look_no_second_time_and_change_no_bit(
    given: dict[str, str], tiny_pooled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looked_at(tiny_pooled, random_images(2))
    before = stretch(tiny_pooled.class_maps(looked.features, torch.tensor([5, 700]))).numpy()
    seen = passes(tiny_pooled, monkeypatch)
    np.testing.assert_array_equal(cam(looked, 5, 700, **given), before)
    assert not seen


def test_flip_is_the_mean_of_a_map_and_the_mirrored_map_of_the_mirrored_picture(
    tiny_pooled: Backbone,
) -> None:
    images = random_images(2)
    drawn = cam(looked_at(tiny_pooled, images), 5, 700, model_flip="true")
    straight = torch.from_numpy(cam(looked_at(tiny_pooled, images), 5, 700))
    mirrored = torch.from_numpy(cam(looked_at(tiny_pooled, images.flip(3)), 5, 700))
    expected = stretch((straight + mirrored.flip(2)) / 2)
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-5)
    assert np.abs(drawn - straight.numpy()).max() > 0.05


def test_with_flip_a_mirrored_picture_has_the_mirrored_map(tiny: Backbone) -> None:
    images = random_images(1, 96)
    drawn = cam(looked_at(tiny, images), 5, flip="true")
    other = cam(looked_at(tiny, images.flip(3)), 5, flip="true")
    np.testing.assert_allclose(drawn, other[:, :, ::-1], atol=1e-5)


def test_scales_are_looked_at_in_whole_cells_and_averaged_on_the_finest_grid(
    tiny_pooled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looked_at(tiny_pooled, random_images(2))
    seen = passes(tiny_pooled, monkeypatch)
    drawn = cam(looked, 5, 700, model_scales="0.5,1,1.6", model_flip="true")
    stride = tiny_pooled.stride
    assert (SIDE_PX, stride) == (64, 32)
    assert seen == [32, 32, 64, 96, 96]  # at 1 the first look serves; 1.6 x 64 is 3.2 cells
    assert drawn.shape == (2, 3, 3)
    parts = []
    for scale in (0.5, 1.0, 1.6):
        for mirrored in (False, True):
            view = seen_again(looked, scale, mirrored)
            one = torch.from_numpy(cam(view, 5, 700))
            upright = one.flip(2) if mirrored else one
            parts.append(F.interpolate(upright[None], (3, 3), mode="bilinear")[0])
    expected = stretch(torch.stack(parts).mean(0))
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("scale", [0.25, 0.3, 1.0, 2.0, 4.0])
def test_a_view_shows_the_same_picture_at_the_side_of_the_features(
    scale: float, tiny_pooled: Backbone
) -> None:
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 3, 64, 64).contiguous()
    at_side = tiny_pooled.features(random_images(1, 128))
    looked = Looked(tiny_pooled, ramp, at_side, tiny_pooled.logits(at_side))
    view = seen_again(looked, scale, True)
    side = round(128 * scale / 32) * 32
    assert view.features.size_px == side
    assert view.images_u8.shape == (1, 3, side, side)
    row = view.images_u8[0, 0, 0].float()
    assert (row.diff() <= 0).all()  # mirrored: it now falls from left to right
    assert abs(float(row.mean()) - 31.5) < 1
    torch.testing.assert_close(view.logits, tiny_pooled.logits(view.features))


def test_a_view_has_one_cell_at_least(tiny_pooled: Backbone) -> None:
    small = random_images(1, 32)
    features = tiny_pooled.features(small)
    looked = Looked(tiny_pooled, small, features, tiny_pooled.logits(features))
    assert seen_again(looked, 0.25, False).features.cells_bchw.shape[2:] == (1, 1)


@pytest.mark.parametrize("name", saliency.names())
def test_every_method_takes_them(name: str, tiny: Backbone) -> None:
    looked = looked_at(tiny, random_images(1, 48))
    method = saliency.get(name)
    for draw in {method.draw, method.without_class}:
        drawn = draw(looked, target(5), {"model_flip": "true"}).values_bhw
        plain = torch.from_numpy(draw(looked, target(5)).values_bhw)
        mirrored = torch.from_numpy(draw(seen_again(looked, 1, True), target(5)).values_bhw)
        expected = stretch((plain + mirrored.flip(2)) / 2)
        np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["cam", "gradient", "objectness", "ddt"])
def test_a_batch_gives_what_single_pictures_give(name: str, tiny: Backbone) -> None:
    looked = looked_at(tiny, random_images(3))
    given = {"model_flip": "true", "model_scales": "0.5,1,1.5"}
    draw = saliency.get(name).draw
    together = draw(looked, target(*CLASSES), given).values_bhw
    for row, index in enumerate(CLASSES):
        single = draw(looked.select(torch.tensor([row])), target(index), given).values_bhw
        np.testing.assert_allclose(together[row], single[0], atol=2e-3)


@pytest.mark.parametrize("name", ["cam", "gradient", "norm", "spectral_residual"])
def test_no_picture_gives_no_map(name: str, tiny: Backbone) -> None:
    none = looked_at(tiny, random_images(2)).select(torch.arange(0))
    drawn = saliency.get(name).draw(none, target(), {"flip": "true", "scales": "0.5,1,2"})
    assert len(drawn.values_bhw) == 0


def test_a_flat_map_in_one_view_leaves_the_others_their_say(tiny_pooled: Backbone) -> None:
    looked = looked_at(tiny_pooled, random_images(1))
    flat = Features(torch.ones_like(looked.features.cells_bchw), looked.features.size_px)
    blank = Looked(tiny_pooled, looked.images_u8, flat, looked.logits)
    assert cam(blank, 5).max() == 0
    mirrored = cam(seen_again(looked, 1, True), 5)[:, :, ::-1]
    np.testing.assert_allclose(cam(blank, 5, flip="true"), mirrored, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"model_flip": "maybe"}, "true or false"),
        ({"model_scales": "0"}, "0.25 to 4"),
        ({"model_scales": "1,big"}, "1 to 8 numbers"),
        ({"model_scales": ",".join(["1"] * 9)}, "1 to 8 numbers"),
    ],
)
def test_wrong_options_are_refused(
    given: dict[str, str], allowed: str, tiny_pooled: Backbone
) -> None:
    looked = looked_at(tiny_pooled, random_images(1))
    with pytest.raises(LabelConfigInvalid) as caught:
        saliency.get("cam").draw(looked, target(5), given)
    assert allowed in caught.value.remedy


def test_boxes_are_asked_for_with_them(
    tiny_pooled: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = random_images(1)
    looked = looked_at(tiny_pooled, images)
    seen = passes(tiny_pooled, monkeypatch)
    picture = as_picture(images[0].permute(1, 2, 0).numpy())
    detect(looked, [picture], [], DetectOptions("cam", extra={"model_flip": "true"}))
    assert seen == [64]

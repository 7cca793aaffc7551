"""What holds for every saliency method by name."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.domain import U8Array
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.detect import DetectOptions, LabelQuery, detect, look, prepare
from backend.vision.explain import explain
from backend.vision.look import Looked
from backend.vision.saliency import Target
from tests.vision.conftest import SIDE_PX, as_picture, network_state, random_images, seeded_backbone

BRIEF: Mapping[str, Mapping[str, str]] = {
    "meaningful_perturbation": {"steps": "1"},
    "occlusion": {"patch": "1"},
    "prediction_difference": {"patch": "1", "samples": "1"},
    "rise": {"masks": "2"},
    "self_taught": {"regions": "2", "halvings": "0"},
}
"""Options with which the methods of many passes take few."""

NO_HEAD = {"attention", "ddt", "eigencam", "norm", "objectness", "spectral_residual"}
"""Those that ask the network for no class."""

every_method = pytest.mark.parametrize("name", saliency.names())


def looked_at(backbone: Backbone, images: Tensor) -> Looked:
    return look(backbone, images.permute(0, 2, 3, 1).contiguous().numpy())


def of_class(*classes: int) -> Target:
    index = torch.tensor(classes)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


def extreme(height: int, width: int) -> U8Array:
    grain = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    if min(height, width) > 20:
        grain[height // 4 : height // 2, width // 4 : width // 2] = 250
    return grain


@every_method
def test_a_picture_of_one_colour_has_a_map_without_nan_and_no_box(
    name: str, tiny: Backbone
) -> None:
    images = torch.full((1, 3, SIDE_PX, SIDE_PX), 90, dtype=torch.uint8)
    looked, method = looked_at(tiny, images), saliency.get(name)
    for draw in (method.draw, method.without_class):
        assert np.isfinite(draw(looked, of_class(5), BRIEF.get(name, {})).values_bhw).all()
    picture = as_picture(np.full((40, 60, 3), 90, np.uint8))
    (found,) = detect(looked, [picture], (), DetectOptions(saliency=name))
    assert len(found) == 0


@every_method
@pytest.mark.parametrize("size_hw", [(1, 1), (50, 8000)], ids=str)
def test_the_least_and_the_longest_picture(
    name: str, size_hw: tuple[int, int], tiny: Backbone
) -> None:
    picture = as_picture(extreme(*size_hw))
    looked = look(tiny, prepare(picture, SIDE_PX)[None])
    options = DetectOptions(saliency=name, extra=BRIEF.get(name, {}))
    label = LabelQuery("x", (tiny.classes[3].wnid,))
    (explained,) = explain(looked, [picture], label, options)
    assert np.isfinite(explained.values_hw).all()
    assert explained.boxes.size_hw == size_hw  # Boxes themselves refuse to leave the picture
    (found,) = detect(looked, [picture], (), options)
    assert len(found) <= 1


@every_method
def test_the_network_is_given_back_as_it_was_after_a_failure(
    name: str, tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looked_at(tiny, random_images(1))
    before = network_state(tiny)

    def fail(*_: object, **__: object) -> Tensor:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(type(tiny.head), "forward", fail)
        patched.setattr(type(tiny.head), "class_maps", fail)
        patched.setattr(Backbone, "features", fail)
        broken = pytest.raises(RuntimeError, match="on purpose")
        with nullcontext() if name in NO_HEAD else broken:
            saliency.get(name).draw(looked, of_class(5), BRIEF.get(name, {}))
    assert network_state(tiny) == before
    saliency.get(name).draw(looked, of_class(5), BRIEF.get(name, {}))
    assert network_state(tiny) == before


@pytest.mark.slow
@every_method
def test_500_maps_leave_nothing_behind(name: str) -> None:
    backbone = seeded_backbone("squeezenet1_1", size_px=32)
    looked, draw = looked_at(backbone, random_images(1, 32)), saliency.get(name).draw
    for _ in range(3):
        draw(looked, of_class(5), BRIEF.get(name, {}))
    before = _tensors()
    for _ in range(500):
        draw(looked, of_class(5), BRIEF.get(name, {}))
    assert _tensors() <= before


def _tensors() -> int:
    gc.collect()
    # By type: isinstance asks proxies among the objects, which then load what they stand for.
    return sum(issubclass(type(one), Tensor) for one in gc.get_objects())

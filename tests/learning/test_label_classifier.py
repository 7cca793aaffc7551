"""A project's labels as classes: their maps lie on their objects."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from backend.domain import BackboneIdentity, Boxes, FloatArray, Picture
from backend.errors import ConfigError
from backend.evaluation.drawn import draw_picture
from backend.learning.examples import Example
from backend.learning.features import F16Array, extract
from backend.learning.fit import fit
from backend.learning.head import Head, predict
from backend.learning.label_classifier import (
    BACKGROUND,
    LabelClassifier,
    cell_looks,
    explained_backbone,
    fit_label_classifier,
)
from backend.learning.tensors import metadata_of
from backend.vision import saliency
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.choice import EMBEDDED
from backend.vision.look import look, prepare
from backend.vision.saliency import Target
from tests.learning.scenes import LABELS, project
from tests.vision.conftest import seeded_backbone

NAMES = ("ball", "cat")
IDENTITY = BackboneIdentity("made-up", "0123", 160)


# ---- by hand


def test_cells_inside_and_outside() -> None:
    """The left half of a 4 x 4 grid is 1, the rest 3: means are seen from the numbers."""
    cells = np.full((2, 4, 4), 3, np.float16)
    cells[:, :, :2] = 1
    left = np.array([[0, 0, 0.5, 1]], np.float32)
    looks = cell_looks(cells, left)
    assert looks.outside.tolist() == [[3, 3]]
    # The points are taken within the box shrunk to .75 and interpolated between cells.
    assert looks.inside.shape == (1, 2)
    assert looks.inside.max() < 2
    nothing = cell_looks(cells, np.zeros((0, 4), np.float32))
    assert (nothing.inside.shape, nothing.outside.tolist()) == ((0, 2), [[2, 2]])
    everything = cell_looks(cells, np.array([[0, 0, 1, 1]], np.float32))
    assert everything.outside.shape == (0, 2)


def looks_of(channel: int) -> F16Array:
    """(3, 4, 4) cells whose left half lights up one channel."""
    cells = np.zeros((3, 4, 4), np.float16)
    cells[channel, :, :2] = 1
    return cells


def test_weights_point_at_what_tells_a_label() -> None:
    box = np.array([[0, 0, 0.5, 1]], np.float32)
    fitted = fit_label_classifier(
        [cell_looks(looks_of(at), box) for at in (0, 1, 0, 0)], [(0,), (1,), (0,), (0,)], 2
    )
    assert fitted.weight.shape == (3, 3)
    assert fitted.weight[:2, :2].argmax(1).tolist() == [0, 1]
    assert (fitted.weight[2, :2] < 0).all(), "the background is where neither lights up"
    assert fitted.weight[:, 2].tolist() == [0, 0, 0], "a silent channel says nothing"
    inside, outside = np.array([1, 0, 0]), np.zeros(3)
    assert (fitted.weight @ inside + fitted.bias).argmax() == 0
    assert (fitted.weight @ outside + fitted.bias).argmax() == 2


def test_boxes_that_leave_nothing_out() -> None:
    whole = np.array([[0, 0, 1, 1]], np.float32)
    cells = [looks_of(0), looks_of(1)]
    fitted = fit_label_classifier([cell_looks(one, whole) for one in cells], [(0,), (1,)], 2)
    assert fitted.weight[2].tolist() == [0, 0, 0]
    scores = [fitted.weight @ one.mean((1, 2)) + fitted.bias for one in cells]
    assert [int(one.argmax()) for one in scores] == [0, 1]


# ---- on drawn pictures


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load_backbone(EMBEDDED, None, "cpu")


def drawn(seed: int) -> tuple[Picture, Boxes]:
    one = draw_picture(seed, (240, 320), share=(0.45, 0.6), names=NAMES)
    return Picture(one.rgb_u8, (240, 320), f"drawn-{seed}"), one.boxes


@pytest.fixture(scope="module")
def learned(embedded: Backbone) -> Head:
    pictures = [drawn(seed) for seed in range(8)]
    both = [extract(embedded, [p for p, _ in pictures], mirrored=m) for m in (False, True)]
    none = np.zeros((0, 4), np.float32)
    examples = [Example(p.content_hash, boxes, none) for p, boxes in pictures]
    features = dict(zip((one.picture for one in examples), zip(*both, strict=True), strict=True))
    return fit(examples, features, NAMES, embedded.identity)[0]


@pytest.mark.parametrize("method", ["cam", "gradcam", "ablationcam", "gradient"])
def test_the_map_of_a_label_peaks_on_its_object(
    embedded: Backbone, learned: Head, method: str
) -> None:
    """On pictures that the head has not seen, both labels in each."""
    explained = explained_backbone(embedded, learned)
    assert [one.name for one in explained.classes] == [*NAMES, BACKGROUND.name]
    held_out = [drawn(seed) for seed in range(100, 108)]
    both = [(picture, boxes) for picture, boxes in held_out if set(boxes.label) == set(NAMES)]
    assert len(both) >= 6
    squares_u8 = np.stack([prepare(picture, explained.size_px) for picture, _ in both])
    looked = look(explained, squares_u8)
    hits = 0
    for label, name in enumerate(NAMES):
        index = torch.full((len(both), 1), label)
        maps = saliency.get(method).draw(looked, Target(index, torch.ones(len(both), 1)))
        for values_hw, (_, boxes) in zip(maps.values_bhw, both, strict=True):
            hits += peaks_inside(values_hw, boxes.select([boxes.label.index(name)]))
    assert hits >= 0.75 * 2 * len(both)


def peaks_inside(values_hw: FloatArray, box: Boxes) -> bool:
    """Whether the largest value lies in the box; that of the other label's never counts."""
    row, column = np.unravel_index(int(values_hw.argmax()), values_hw.shape)
    height, width = box.size_hw
    x = (int(column) + 0.5) / values_hw.shape[1] * width
    y = (int(row) + 0.5) / values_hw.shape[0] * height
    x0, y0, x1, y1 = box.xyxy_px[0].tolist()
    return bool(x0 <= x < x1 and y0 <= y < y1)


def test_a_label_is_found_by_its_name_and_the_background_by_none(
    embedded: Backbone, learned: Head
) -> None:
    matcher = explained_backbone(embedded, learned).matcher
    assert (matcher.match(["Cat"]), matcher.match(["ball"])) == ((1,), (0,))
    assert [matcher.match([name]) for name in ("", "s", "background")] == [(), (), ()]


# ---- in the head


@pytest.mark.slow
def test_it_is_kept_with_the_head_and_changes_no_box() -> None:
    examples, features = project(8, seed=30)
    head, _ = fit(examples, features, LABELS, IDENTITY)
    assert head.classifier is not None
    assert head.classifier.weight.shape == (3, 16)
    again = Head.from_bytes(head.to_bytes())
    assert again.classifier is not None
    assert again.classifier.weight.tolist() == head.classifier.weight.tolist()
    assert again.classifier.bias.tolist() == head.classifier.bias.tolist()
    upright = [pair[0] for pair in features.values()]
    other = replace(head, classifier=LabelClassifier(-head.classifier.weight, head.classifier.bias))
    for ours, theirs in zip(predict(head, upright), predict(other, upright), strict=True):
        assert ours.xyxy_px.tolist() == theirs.xyxy_px.tolist()
        assert (ours.label, ours.score.tolist()) == (theirs.label, theirs.score.tolist())


def of_schema(data: bytes, schema: int) -> bytes:
    """The head as another release wrote it: before 3 without a classifier."""
    record = json.loads(metadata_of(data)["head"]) | {"schema": schema}
    arrays = {
        name: values for name, values in load(data).items() if not name.startswith("classifier/")
    }
    return bytes(save(arrays, {"head": json.dumps(record)}))


@pytest.mark.slow
def test_heads_of_the_release_before_are_read_and_explain_nothing() -> None:
    examples, features = project(6, seed=31)
    tiny = seeded_backbone("mobilenet_v2")
    head, _ = fit(examples, features, LABELS, tiny.identity)
    earlier = Head.from_bytes(of_schema(head.to_bytes(), 2))
    assert earlier.classifier is None
    upright = [features[examples[0].picture][0]]
    (ours,), (theirs,) = predict(head, upright), predict(earlier, upright)
    assert ours.xyxy_px.tolist() == theirs.xyxy_px.tolist()
    assert Head.from_bytes(earlier.to_bytes()).classifier is None
    with pytest.raises(ConfigError, match=r"earlier release.* Train the project again"):
        explained_backbone(tiny, earlier)
    with pytest.raises(ConfigError, match="schema 1"):
        Head.from_bytes(of_schema(head.to_bytes(), 1))


def test_other_weights_are_refused() -> None:
    examples, features = project(4, seed=32)
    head, _ = fit(examples, features, LABELS, IDENTITY)
    with pytest.raises(ConfigError, match="learned with made-up 0123"):
        explained_backbone(seeded_backbone("mobilenet_v2"), head)

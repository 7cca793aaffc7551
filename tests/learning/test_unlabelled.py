"""Objects without labels: proposed by a prior, seen with features at hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.domain import UNNAMED, Boxes, Picture, U8Array, iou_matrix
from backend.learning import prior as priors
from backend.learning.accept import first_acceptance
from backend.learning.dense import OUTPUTS
from backend.learning.describe import SURROUNDINGS, describe
from backend.learning.features import extract
from backend.learning.head import to_units
from backend.learning.linear import no_ridge
from backend.learning.prior import Prior
from backend.learning.promote import judge, total
from backend.learning.scene import MOST_BOXES, grids_of, view_of
from backend.learning.trees import fit_trees, no_trees
from backend.learning.unlabelled import propose, see_with_prior
from backend.learning.whitening import fit_whitening
from backend.vision.backbones import Backbone, backbone_from_tensors
from backend.vision.detect import DetectOptions, LabelQuery, look, prepare
from backend.vision.objects import find
from tests.learning.scenes import SIZE_HW, made_prior, project
from tests.vision.conftest import as_picture, drawn_picture, seeded_backbone, seeded_model

NO_HINT = Boxes.empty(SIZE_HW)
THING = LabelQuery("Thing", ("no such class",))


def unnamed(boxes: Boxes) -> Boxes:
    return Boxes(boxes.xyxy_px, boxes.score, (UNNAMED,) * len(boxes), boxes.size_hw)


@pytest.fixture(scope="module")
def plain() -> Prior:
    """Knows where objects are; every candidate fits it equally well."""
    return made_prior("made-up")


@pytest.fixture(scope="module")
def prior(plain: Prior) -> Prior:
    """The same with trees that tell which candidate fits."""
    examples, features = project(15, seed=24)
    rows, fits = [], []
    for example in examples:
        view = view_of(plain, grids_of(features[example.picture][0], plain.whitening))
        rows.append(describe(view.maps, view.boxes, plain.known, view.moment, view.boxes))
        fits.append(iou_matrix(view.boxes, to_units(example.boxes)).max(1))
    trees = fit_trees(
        np.concatenate(rows), np.concatenate(fits), count=60, leaves=12, least_rows=30
    )
    return replace(plain, trees=trees)


def test_objects_of_any_label_are_found(prior: Prior) -> None:
    examples, features = project(20, seed=25)
    found = {one.picture: propose(prior, features[one.picture][0], NO_HINT) for one in examples}
    counts = total(judge(found[one.picture], unnamed(one.boxes)) for one in examples)
    assert counts.f1_50 > 0.8
    for boxes in found.values():
        assert list(boxes.score) == sorted(boxes.score, reverse=True)
        assert set(boxes.label) <= {UNNAMED}
        assert boxes.size_hw == SIZE_HW


def test_a_hint_decides_between_what_the_prior_holds_equal(plain: Prior) -> None:
    examples, features = project(12, seed=26)
    overlaps = []
    for example in examples:
        picture = features[example.picture][0]
        hint = example.boxes.select([0])
        overlaps.append(
            [
                float(iou_matrix(found.xyxy_px, hint.xyxy_px).max(initial=0))
                for found in (propose(plain, picture, NO_HINT), propose(plain, picture, hint))
            ]
        )
    without, with_hint = np.mean(overlaps, 0)
    assert with_hint > without + 0.1


def test_nothing_above_the_threshold_is_no_box(plain: Prior) -> None:
    _, features = project(1, seed=27)
    (picture, _) = next(iter(features.values()))
    strict = replace(plain, acceptance=replace(first_acceptance(), threshold=0.51))
    assert len(propose(strict, picture, NO_HINT)) == 0
    lenient = replace(plain, acceptance=first_acceptance())
    assert 1 <= len(propose(lenient, picture, NO_HINT)) <= MOST_BOXES


# ---- with a network


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return seeded_backbone("mobilenet_v2")


@pytest.fixture
def known(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Prior:
    """A prior made for the weights of the network; it knows nothing and shows everything."""
    pictures = [drawn_picture(), drawn_picture((200, 90), (10, 20, 60, 80))]
    whitening = fit_whitening(extract(backbone, pictures))
    kept = Prior(
        backbone.identity.name,
        whitening,
        np.zeros((whitening.width + 1, OUTPUTS), np.float32),
        no_ridge(SURROUNDINGS, 4),
        no_trees(0.5),
        np.array([[0.2, 0.2, 0.7, 0.8]], np.float32),
        first_acceptance(),
    )
    monkeypatch.setattr(priors, "_by_name", lambda: {kept.backbone: kept})
    return kept


def squares(backbone: Backbone, *pictures: Picture) -> U8Array:
    return np.stack([prepare(picture, backbone.size_px) for picture in pictures])


def test_a_sight_needs_no_forward_pass_of_its_own(
    known: Prior, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = see_with_prior(backbone)
    assert see is not None
    grey = as_picture(np.full((50, 70, 3), 128, np.uint8))
    pictures = [drawn_picture(), grey]
    features = extract(backbone, pictures)
    monkeypatch.setattr(backbone, "runtime", None)
    sight = see(features, pictures, squares(backbone, *pictures), DetectOptions("cam"))
    found, nothing = find(sight, pictures, [THING], DetectOptions())
    assert len(found) >= 1
    assert set(found.label) == {"Thing"}
    assert (len(nothing), nothing.size_hw) == (0, (50, 70))
    assert sight.objects is not None
    # Maps come from the large view, names from the small one.
    assert sight.looked.features.size_px == 320
    assert sight.objects.looked.features.size_px == 224


def test_the_cells_are_those_of_a_forward_pass(known: Prior, backbone: Backbone) -> None:
    see = see_with_prior(backbone)
    assert see is not None
    picture = drawn_picture()
    features, squares_u8 = extract(backbone, [picture]), squares(backbone, picture)
    sight = see(features, [picture], squares_u8, DetectOptions("cam"))
    direct = look(backbone, prepare(picture, 320)[None])
    np.testing.assert_allclose(
        sight.looked.features.cells_bchw, direct.features.cells_bchw, rtol=2e-3, atol=2e-3
    )
    np.testing.assert_allclose(sight.looked.logits, direct.logits, rtol=2e-2, atol=2e-2)


def test_a_prior_of_other_weights_is_left_alone(known: Prior) -> None:
    assert see_with_prior(seeded_backbone("squeezenet1_1")) is None
    tensors = seeded_model("mobilenet_v2").state_dict()
    same = backbone_from_tensors("mobilenet_v2", tensors, size_px=96)
    assert see_with_prior(same) is not None, "the side of maps plays no part"
    # The last layer of a block that nothing is added to: its tap is five times as large.
    for part in ("weight", "bias"):
        tensors[f"features.17.conv.3.{part}"] *= 5
    others = backbone_from_tensors("mobilenet_v2", tensors, size_px=96)
    assert see_with_prior(others) is None

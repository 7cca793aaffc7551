"""Features as they are read for what an annotator points at."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import iou_matrix
from backend.learning import pointed
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.pointed import pointable
from tests.learning.scenes import made_prior, project
from tests.vision.conftest import seeded_backbone


def taps(*shapes: tuple[int, int]) -> tuple[F16Array, ...]:
    """Taps of so many channels and cells a side, each filled with its number."""
    return tuple(np.full((c, n, n), at, np.float16) for at, (c, n) in enumerate(shapes))


@pytest.mark.parametrize(
    ("shapes", "chosen"),
    [
        pytest.param([(32, 40), (96, 20), (576, 20), (320, 10)], 1, id="MobileNetV2's at 320"),
        pytest.param([(64, 20), (128, 10)], 1, id="two strides"),
        pytest.param([(512, 10)], 0, id="one"),
    ],
)
def test_cells_are_the_first_of_the_second_finest_grid(
    shapes: list[tuple[int, int]], chosen: int
) -> None:
    small = taps((8, 28), (8, 14))
    features = PictureFeatures((small, taps(*shapes)), np.zeros(4, np.float16), (100, 200))
    seen = pointable(seeded_backbone("mobilenet_v2"))(features)
    assert seen.proposals is None  # seeded weights are none that a prior knows
    assert seen.cells_chw.shape == (shapes[chosen][0], shapes[chosen][1], shapes[chosen][1])
    assert (seen.cells_chw == chosen).all()
    assert seen.cells_chw.dtype == np.float32


@pytest.mark.slow
def test_a_prior_proposes_what_may_be_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = made_prior("made-up")
    monkeypatch.setattr(pointed, "known_prior", lambda backbone: prior)
    describe = pointable(seeded_backbone("mobilenet_v2"))
    examples, features = project(5, seed=3)
    for example in examples:
        found = describe(features[example.picture][0]).proposals
        assert found is not None
        assert found.size_hw == example.boxes.size_hw
        # For every true box there is one that fits.
        assert iou_matrix(example.boxes.xyxy_px, found.xyxy_px).max(1).min() > 0.5

"""How much the prior's score counts beside what was learned."""

import numpy as np
import pytest

from backend.learning.rank import PRIOR_PICTURES, explains, fit_ranker, prior_share
from backend.learning.scene import Described


def test_a_prior_that_explains_nothing_is_not_trusted() -> None:
    iou = np.array([0.1, 0.9, 0.2, 0.8], np.float32)
    assert explains(iou, iou)
    assert not explains(1 - iou, iou)
    assert not explains(np.full(4, 0.5, np.float32), iou), "the mean is no news"
    assert prior_share([iou], [1 - iou], [iou]) == 0


def test_the_share_is_that_of_least_squares_drawn_to_one() -> None:
    random = np.random.RandomState(0)
    iou = [random.rand(50).astype(np.float32) for _ in range(20)]
    own = [one + random.normal(0, 0.1, 50).astype(np.float32) for one in iou]
    prior = [one + random.normal(0, 0.2, 50).astype(np.float32) for one in iou]
    weights = np.linspace(0, 1, 1001)
    errors = [
        sum(
            np.square(o + weight * (p - o) - i).sum()
            for o, p, i in zip(own, prior, iou, strict=True)
        )
        for weight in weights
    ]
    best = weights[int(np.argmin(errors))]
    assert best == pytest.approx(0.2, abs=0.03), "variances 1 to 4"
    told = 20**2 / (20**2 + PRIOR_PICTURES**2)
    assert prior_share(own, prior, iou) == pytest.approx(told * best + (1 - told), abs=2e-3)
    one = prior_share(own[:1], prior[:1], iou[:1])
    assert one > 0.9, "a single picture leaves the prior its word"


def test_own_and_prior_score_are_blended() -> None:
    random = np.random.RandomState(1)
    rows = random.rand(400, 3).astype(np.float32)
    iou = rows[:, 0]
    ranker = fit_ranker(rows, iou)
    described = Described(np.zeros((400, 4), np.float32), rows, 1 - iou)
    own = ranker(described)
    assert np.corrcoef(own, iou)[0, 1] > 0.95
    half = type(ranker)(ranker.ridge, ranker.trees, 0.5)(described)
    np.testing.assert_allclose(half, (own + 1 - iou) / 2, atol=1e-6)

"""Priors: made, kept, found for the right weights, and a good start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.domain import BackboneIdentity
from backend.learning import prior as priors
from backend.learning.features import PictureFeatures
from backend.learning.fit import fit
from backend.learning.head import predict
from backend.learning.prior import Prior, prior_by_digest, prior_for
from backend.learning.promote import judge, total
from tests.learning.scenes import LABELS, made_prior, project

IDENTITY = BackboneIdentity("made-up", "0123", 160)


@pytest.fixture(scope="module")
def made() -> Prior:
    """A prior from many accepted pictures of the made-up kind."""
    return made_prior(IDENTITY.name)


@pytest.fixture
def known(made: Prior, monkeypatch: pytest.MonkeyPatch) -> Prior:
    """The same, as if it came with this release."""
    kept = Prior.from_bytes(made.to_bytes(), made.backbone)
    monkeypatch.setattr(priors, "_by_name", lambda: {kept.backbone: kept})
    return kept


def test_bytes_give_the_same_prior(made: Prior) -> None:
    once = Prior.from_bytes(made.to_bytes(), made.backbone)
    assert once.to_bytes() == Prior.from_bytes(once.to_bytes(), made.backbone).to_bytes()
    assert np.array_equal(once.weights, made.weights)
    assert once.acceptance.threshold == pytest.approx(made.acceptance.threshold)


def test_a_prior_is_found_for_its_weights_only(known: Prior) -> None:
    _, features = project(4, seed=21)
    upright = [pair[0] for pair in features.values()]
    assert prior_for(IDENTITY.name, upright) is known
    assert prior_for("another network", upright) is None
    assert prior_for(IDENTITY.name, []) is None
    others = [
        PictureFeatures(
            tuple(tuple((3 * tap + 1).astype(np.float16) for tap in v) for v in one.views),
            one.pooled,
            one.size_hw,
        )
        for one in upright
    ]
    assert prior_for(IDENTITY.name, others) is None, "other weights under the same name"
    assert prior_by_digest(known.digest) is known
    assert prior_by_digest("00000000") is None


@pytest.mark.slow
def test_a_prior_makes_three_pictures_worth_more(known: Prior) -> None:
    examples, features = project(3, seed=22)
    with_prior, _ = fit(examples, features, LABELS, IDENTITY)
    alone, _ = fit(examples, features, LABELS, replace(IDENTITY, name="nothing known"))
    assert with_prior.meta.prior == known.digest
    assert with_prior.whitening is None
    others, unseen = project(20, seed=23)
    pictures = [unseen[other.picture][0] for other in others]
    scores = [
        total(judge(b, o.boxes) for b, o in zip(predict(head, pictures), others, strict=True)).score
        for head in (with_prior, alone)
    ]
    assert scores[0] > scores[1]


def test_priors_of_this_release_can_be_read() -> None:
    priors._by_name.cache_clear()
    shipped = priors._by_name()
    assert "mobilenet_v2" in shipped
    for prior in shipped.values():
        assert prior.weights.shape == (prior.whitening.width + 1, 10)
        assert 0 < prior.acceptance.threshold < 1
        assert prior_by_digest(prior.digest) is prior

"""Grids for two looks, with and without room to keep them in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from backend.domain import BackboneIdentity
from backend.learning.fit import fit
from backend.learning.grids import FeaturePair, Grids
from backend.learning.scene import grids_of
from backend.learning.whitening import fit_whitening
from tests.learning.scenes import LABELS, project


class Counted(Mapping[str, FeaturePair]):
    """Features of which every reading is counted."""

    def __init__(self, features: Mapping[str, FeaturePair]) -> None:
        self._features = features
        self.read = 0

    def __getitem__(self, name: str) -> FeaturePair:
        self.read += 1
        return self._features[name]

    def __contains__(self, name: object) -> bool:
        return name in self._features

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)


@pytest.mark.parametrize(("kept", "read"), [(10**9, 3), (0, 6)], ids=["room for all", "for none"])
def test_the_second_look_is_the_first_one_again(kept: int, read: int) -> None:
    _, features = project(3, seed=40)
    counted = Counted(features)
    whitening = fit_whitening([pair[0] for pair in features.values()])
    grids = Grids(counted, whitening, kept)
    first = {name: grids.first(name) for name in features}
    for name, look in first.items():
        assert np.array_equal(look.cells, features[name][0].views[0][-1])
        for ours, theirs in zip(look.mirrored, grids_of(features[name][1], whitening), strict=True):
            assert np.array_equal(ours, theirs)
        for ours, theirs in zip(grids.second(name), look.upright, strict=True):
            assert np.array_equal(ours, theirs)
    assert counted.read == read


def test_only_as_many_are_kept_as_there_is_room_for() -> None:
    _, features = project(4, seed=41)
    counted = Counted(features)
    whitening = fit_whitening([pair[0] for pair in features.values()])
    size = sum(grid.nbytes for grid in grids_of(next(iter(features.values()))[0], whitening))
    grids = Grids(counted, whitening, 2 * size)
    for name in features:
        grids.first(name)
    for name in features:
        grids.second(name)
    assert counted.read == 4 + 2


@pytest.mark.slow
def test_a_fit_reads_features_one_picture_at_a_time() -> None:
    examples, features = project(6, seed=42)
    counted = Counted(features)
    identity = BackboneIdentity("made-up", "0123", 160)
    lazy, _ = fit(examples, counted, LABELS, identity)
    held, _ = fit(examples, features, LABELS, identity)
    # Once for the whitening, once for the first look; the second one was kept.
    assert counted.read == 2 * 6
    assert np.array_equal(lazy.weights, held.weights)
    assert np.array_equal(lazy.ranker.trees.value, held.ranker.trees.value)

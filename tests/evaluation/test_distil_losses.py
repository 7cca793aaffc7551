"""The terms of the training loss, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from backend.evaluation.distil.losses import (
    BoxReaders,
    MapScale,
    answer_loss,
    label_loss,
    map_loss,
)
from backend.evaluation.distil.student import TAPS

CHANNELS = dict.fromkeys(TAPS, 2)


def test_equal_answers_cost_nothing() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    assert float(answer_loss(logits, logits)) == pytest.approx(0.0, abs=1e-6)


def test_answers_by_hand() -> None:
    student, teacher = [0.0, 0.0], [4 * math.log(3.0), 0.0]
    expected = 0.0
    for t, p in ((1.0, 81 / 82), (4.0, 3 / 4)):
        expected += t * t * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) / 2
    got = answer_loss(torch.tensor([student]), torch.tensor([teacher]))
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_maps_by_hand() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    same = {tap: one.view(1, 2, 1, 1) for tap in TAPS}
    turned = same | {TAPS[0]: other.view(1, 2, 1, 1)}
    scale = MapScale(CHANNELS)
    assert float(map_loss(same, same, scale)) == pytest.approx(0.0, abs=1e-6)
    # One tap of seven: cosine 0 costs 1, a smooth difference of 1 a channel costs half of .5.
    assert float(map_loss(turned, same, scale)) == pytest.approx(1.25 / len(TAPS))


def test_map_scale_takes_mean_and_deviation_out() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = {tap: 5 + 3 * torch.randn(4, 2, 8, 8, generator=rng) for tap in TAPS}
    scale = MapScale(CHANNELS)
    scale.fit(maps)
    scaled = scale(maps[TAPS[0]], TAPS[0])
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert scaled.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        pytest.param(None, math.log(3), id="all-outputs"),
        pytest.param([0, 2], math.log(2), id="two-on-offer"),
    ],
)
def test_labels_compete_among_what_was_on_offer(space: list[int] | None, expected: float) -> None:
    share = torch.tensor([[1.0, 0.0, 0.0]])
    offered = None if space is None else torch.tensor(space)
    assert float(label_loss(torch.zeros(1, 3), share, offered)) == pytest.approx(expected)


def test_box_readers_begin_undecided() -> None:
    readers = BoxReaders(CHANNELS)
    maps = {6: torch.rand(1, 2, 8, 8), 13: torch.rand(1, 2, 4, 4), 18: torch.rand(1, 2, 2, 2)}
    coverage = torch.zeros(1, 8, 8)
    coverage[:, :4] = 1
    assert float(readers(maps, coverage).detach()) == pytest.approx(math.log(2))

"""Channel selection and the student that starts from the teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.evaluation.distil.prune import select_channels, start_from_teacher
from backend.evaluation.distil.student import (
    TAPS,
    build_student,
    folded_copy,
    forward_with_taps,
    parameter_count,
)
from backend.vision.torchvision_door import load_torchvision


def test_the_columns_that_explain_the_target_are_kept() -> None:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(400, 6, generator=rng, dtype=torch.float64)
    target = torch.stack([2 * hidden[:, 1] + 3, -hidden[:, 4] + 0.5 * hidden[:, 1]], dim=1)
    keep, weight, bias = select_channels(hidden, target, 2)
    assert keep.tolist() == [1, 4]
    # Ridge pulls a little towards zero.
    assert torch.allclose(weight, torch.tensor([[2, 0.5], [0, -1]]).double(), atol=0.01)
    assert torch.allclose(bias, torch.tensor([3.0, 0.0]).double(), atol=0.01)


def test_of_two_equal_columns_one_is_kept() -> None:
    column = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    keep, weight, _ = select_channels(torch.cat([column, column], 1), column, 1)
    assert len(keep) == 1
    assert float(weight) == pytest.approx(1.0, abs=0.01)


def _teacher() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = load_torchvision().models.MobileNetV2()
    return network.eval()


@pytest.mark.slow
def test_a_pruned_student_is_nearer_to_the_teacher_than_a_random_one() -> None:
    teacher = _teacher()
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 64, 64, generator=rng)
    torch.manual_seed(1)
    student, random = build_student(), build_student().eval()
    start_from_teacher(student, teacher, [images], rng)
    with torch.no_grad():
        wanted = forward_with_taps(teacher, images)[0]
        pruned, drawn = (forward_with_taps(net, images)[0] for net in (student, random))
    for tap in TAPS:
        spread = wanted[tap].var()
        assert (pruned[tap] - wanted[tap]).square().mean() < 0.9 * spread
        assert (pruned[tap] - wanted[tap]).square().mean() < (
            (drawn[tap] - wanted[tap]).square().mean()
        )


def test_taps_and_folding_are_the_network_itself() -> None:
    network = _teacher()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = network(images)
        maps, logits = forward_with_taps(network, images)
        folded = forward_with_taps(folded_copy(network, torch.float32), images)[1]
    assert torch.allclose(logits, wanted, atol=1e-5)
    assert torch.allclose(folded, wanted, atol=1e-5)
    assert [maps[tap].shape[1:] for tap in TAPS] == [
        (24, 16, 16),
        (32, 8, 8),
        (64, 4, 4),
        (96, 4, 4),
        (160, 2, 2),
        (320, 2, 2),
        (1280, 2, 2),
    ]


def test_the_student_fits_into_six_megabytes() -> None:
    student = build_student()
    assert parameter_count(student) * 2 < 5_700_000

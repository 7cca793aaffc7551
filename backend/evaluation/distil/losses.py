"""What the student is asked for: the teacher's answers, its maps, true labels, boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.evaluation.distil.student import BOX_TAPS, TAPS
from backend.evaluation.distil.views import GRID_PX, Views

TEMPERATURES = (1.0, 4.0)


@dataclass(frozen=True)
class LossWeights:
    """Share of each term in the sum."""

    answers: float = 0.5
    maps: float = 5.0
    labels: float = 0.2
    boxes: float = 0.5


class MapScale(nn.Module):
    """Mean and deviation of the teacher's channels at each tap, to compare like with like."""

    def __init__(self, channels: Mapping[int, int]) -> None:
        super().__init__()
        for tap in TAPS:
            self.register_buffer(f"mean_{tap}", torch.zeros(channels[tap]))
            self.register_buffer(f"std_{tap}", torch.ones(channels[tap]))

    @torch.no_grad()
    def fit(self, maps: Mapping[int, Tensor]) -> None:
        """Measures both on maps (B, C, h, w) of the teacher."""
        for tap in TAPS:
            values = maps[tap].float()
            self.get_buffer(f"mean_{tap}").copy_(values.mean((0, 2, 3)))
            self.get_buffer(f"std_{tap}").copy_(values.std((0, 2, 3)).clamp_min(1e-3))

    def forward(self, maps: Tensor, tap: int) -> Tensor:
        """maps (B, C, h, w) of this tap, standardised by the teacher's statistics."""
        mean, std = self.get_buffer(f"mean_{tap}"), self.get_buffer(f"std_{tap}")
        return (maps.float() - mean[:, None, None]) / std[:, None, None]


class BoxReaders(nn.Module):
    """A 1 x 1 convolution a tap that tells whether a cell lies inside an object.

    They are thrown away after training; what stays is a trunk from whose cells object and
    background can be told apart linearly, which is what a few-shot dense head needs.
    """

    def __init__(self, channels: Mapping[int, int]) -> None:
        super().__init__()
        self.readers = nn.ModuleDict(
            {str(tap): nn.Conv2d(channels[tap], 1, kernel_size=1) for tap, _ in BOX_TAPS}
        )
        for reader in self.readers.values():
            nn.init.zeros_(reader.weight)  # type: ignore[arg-type]
            nn.init.zeros_(reader.bias)  # type: ignore[arg-type]

    def forward(self, maps: Mapping[int, Tensor], coverage: Tensor) -> Tensor:
        """Mean binary cross-entropy against coverage (B, S/8, S/8) over all box taps."""
        terms = []
        for tap, stride in BOX_TAPS:
            wanted = F.avg_pool2d(coverage[:, None], stride // GRID_PX)
            logit = self.readers[str(tap)](maps[tap].float())
            terms.append(F.binary_cross_entropy_with_logits(logit, wanted))
        return torch.stack(terms).mean()


def answer_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the answers, mean over TEMPERATURES, each times T^2.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".
    """
    terms = [
        F.kl_div(
            F.log_softmax(student_logits / t, 1),
            F.log_softmax(teacher_logits / t, 1),
            log_target=True,
            reduction="batchmean",
        )
        * t**2
        for t in TEMPERATURES
    ]
    return torch.stack(terms).mean()


def map_loss(
    student: Mapping[int, Tensor], teacher: Mapping[int, Tensor], scale: MapScale
) -> Tensor:
    """1 - cosine of each cell's standardised channels, plus their mean squared difference.

    Mean over taps. The cosine carries the direction, the difference the size.
    """
    terms = []
    for tap in TAPS:
        own, wanted = scale(student[tap], tap), scale(teacher[tap], tap)
        cosine = F.cosine_similarity(own, wanted, dim=1)
        terms.append((1 - cosine).mean() + 0.5 * F.smooth_l1_loss(own, wanted))
    return torch.stack(terms).mean()


def label_loss(logits: Tensor, class_share: Tensor, class_space: Tensor | None) -> Tensor:
    """Cross-entropy among the classes that the photos were drawn from.

    Outputs for classes outside class_space take no part: they were not on offer, which
    says nothing about them.
    """
    if class_space is not None:
        logits, class_share = logits[:, class_space], class_share[:, class_space]
    return F.cross_entropy(logits, class_share)


def total_loss(
    views: Views,
    student: tuple[Mapping[int, Tensor], Tensor],
    teacher: tuple[Mapping[int, Tensor], Tensor],
    scale: MapScale,
    readers: BoxReaders,
    weights: LossWeights,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and each term by name, detached."""
    maps, logits = student[0], student[1].float()
    terms = {
        "answers": answer_loss(logits, teacher[1].float()),
        "maps": map_loss(maps, teacher[0], scale),
    }
    total = weights.answers * terms["answers"] + weights.maps * terms["maps"]
    if views.class_share is not None:
        terms["labels"] = label_loss(logits, views.class_share, views.class_space)
        total = total + weights.labels * terms["labels"]
    if views.coverage is not None:
        terms["boxes"] = readers(maps, views.coverage)
        total = total + weights.boxes * terms["boxes"]
    return total, {name: term.detach() for name, term in terms.items()}

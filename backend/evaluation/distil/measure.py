"""How well the student answers on photos that no training saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.evaluation.distil.photos import PhotoPool
from backend.evaluation.distil.student import TAPS, forward_with_taps, trunk_dtype
from backend.evaluation.distil.views import normalise


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] over one pool.

    agreement_top1/5: the teacher's first class is the student's first / among its five.
    true_top1/5: the same for the label, among class_space; teacher_top1: the teacher's own.
    map_cosine: mean cosine of both last maps' cells.
    """

    photos: int
    agreement_top1: float
    agreement_top5: float
    true_top1: float
    true_top5: float
    teacher_top1: float
    map_cosine: float

    def as_dict(self) -> dict[str, float]:
        """Plain values for a log line or a card, rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@torch.no_grad()
def measure(
    student: nn.Module, teacher: nn.Module, pool: PhotoPool, side_px: int = 224, batch: int = 32
) -> Accuracy:
    """Both networks on every photo of pool, enlarged to side_px."""
    sums = torch.zeros(6, dtype=torch.float64)
    for start in range(0, len(pool), batch):
        part = pool.select(torch.arange(start, min(start + batch, len(pool))))
        images = normalise(enlarge(part.rgb_u8, side_px))
        images = images.contiguous(memory_format=torch.channels_last)
        own_maps, own = forward_with_taps(student, images)
        their_maps, theirs = forward_with_taps(teacher, images.to(trunk_dtype(teacher)))
        own, theirs = own.float(), theirs.float()
        chosen = theirs.argmax(1)
        sums[0] += _hits(own, chosen, 1)
        sums[1] += _hits(own, chosen, 5)
        space = pool.class_space
        if space is None:
            label = part.class_index
        else:
            label = torch.searchsorted(space, part.class_index)
            own, theirs = own[:, space], theirs[:, space]
        sums[2] += _hits(own, label, 1)
        sums[3] += _hits(own, label, 5)
        sums[4] += _hits(theirs, label, 1)
        last = TAPS[-1]
        cosine = F.cosine_similarity(own_maps[last].float(), their_maps[last].float(), dim=1)
        sums[5] += float(cosine.mean((1, 2)).sum())
    shares = (sums / len(pool)).tolist()
    return Accuracy(len(pool), *shares)


def enlarge(rgb_u8: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) uint8 resized to (B, 3, side_px, side_px) float in [0, 1]."""
    unit = rgb_u8.float() / 255
    return F.interpolate(
        unit, (side_px, side_px), mode="bilinear", align_corners=False, antialias=True
    )


def _hits(logits: Tensor, wanted: Tensor, among: int) -> float:
    best = logits.topk(min(among, logits.shape[1]), dim=1).indices
    return float((best == wanted[:, None]).any(1).sum())

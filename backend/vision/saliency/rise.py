"""What is seen, on average, when the network recognises the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.options import within
from backend.vision.saliency.masked import BATCH, masked_logits
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency
from backend.vision.saliency.target_score import variant_scores

_SEED = 0


@dataclass(frozen=True, slots=True)
class RiseOptions:
    """masks: how many; the paper takes 4000 to 8000. grid: cells of a mask on a side.
    keep: probability that a cell is shown.
    """

    masks: int = within(256, 2, 8000)
    grid: int = within(7, 2, 32)
    keep: float = within(0.5, 0.05, 0.95)


@saliency("rise", box_rule="threshold", options=RiseOptions)
def rise(looked: Looked, target: Target, options: RiseOptions) -> SaliencyMap:
    """``rise_estimate``, stretched."""
    return to_saliency(rise_estimate(looked, target, options))


def rise_estimate(looked: Looked, target: Target, options: RiseOptions) -> Tensor:
    """(B, S, S) mean of random masks, weighted by the target's probability behind each.

    Source: Petsiuk et al. 2018, "RISE", equation 6, with class probabilities as there.
    Differs: from each weight the mean over the masks is taken away, which moves the
    expected map by a constant and takes the largest part of the chance out of it, and the
    weights are divided by that mean, so that an unlikely class has a map as well. The
    masks come from one seed and are the same for every picture.
    Cost: a forward pass a mask, 256 by default and at most 8000.
    """
    with torch.inference_mode():
        masks = RandomMasks(options, looked.images_u8.shape[-1])
        estimate = torch.zeros_like(looked.images_u8[:, 0], dtype=torch.float32)
        for row in range(len(looked)):
            logits = masked_logits(looked, row, options.masks, masks.at)
            score = variant_scores(torch.softmax(logits, 1), target, row)
            tiny = torch.finfo(score.dtype).tiny
            weight = (score - score.mean()) / score.mean().abs().clamp_min(tiny)
            for part in torch.split(torch.arange(options.masks, device=weight.device), BATCH):
                estimate[row] += torch.einsum("n,nhw->hw", weight[part], masks.at(part).to(weight))
        return estimate / (options.masks * options.keep)


class RandomMasks:
    """Masks (S, S) in 0..1, each pixel shown with the probability ``keep`` on average.

    A grid of cells, each shown or covered, one cell larger than the picture on either
    axis, stretched bilinearly and moved by a part of a cell. Source: section 3.2 of the
    paper; differs: a cell is rounded up to whole pixels, so that the grid always reaches.
    """

    def __init__(self, options: RiseOptions, side_px: int) -> None:
        # On the host, because devices draw different numbers from one seed.
        generator = torch.Generator().manual_seed(_SEED)
        grid, self.side_px = options.grid, side_px
        self.cell_px = -(-side_px // grid)
        self.cells = torch.rand((options.masks, grid, grid), generator=generator) < options.keep
        self.shift_px = torch.randint(0, self.cell_px, (options.masks, 2), generator=generator)

    def at(self, positions: Tensor) -> Tensor:
        """(n, S, S) float32 on the host."""
        where = positions.cpu()
        cells = self.cells[where, None].float()
        full = (self.cells.shape[1] + 1) * self.cell_px
        large = F.interpolate(cells, (full, full), mode="bilinear")[:, 0]
        moved = zip(large, self.shift_px[where].tolist(), strict=True)
        return torch.stack([m[y : y + self.side_px, x : x + self.side_px] for m, (y, x) in moved])

"""What the score loses without each region of a segmentation, on several scales."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.options import within
from backend.vision.saliency.masked import masked_drops
from backend.vision.saliency.regions import like_coloured
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """regions: how many on a side of the finest scale. halvings: coarser scales, each with
    half as many on a side; those of fewer than two are left out.
    """

    regions: int = within(8, 2, 20)
    halvings: int = within(2, 0, 4)

    def per_side(self) -> list[int]:
        """Regions on a side at each scale, the finest first, each scale once."""
        sides = [self.regions >> halving for halving in range(self.halvings + 1)]
        return [side for side in sides if side >= 2]


@saliency("self_taught", box_rule="threshold", options=RegionOptions)
def self_taught(looked: Looked, target: Target, options: RegionOptions) -> SaliencyMap:
    """``region_drops``, stretched: regions that speak against the target are lowest."""
    return to_saliency(region_drops(looked, target, options))


def region_drops(looked: Looked, target: Target, options: RegionOptions) -> Tensor:
    """(B, S, S) target score minus that without a pixel's region, mean over the scales.

    A region's drop is spread over its pixels: divided by its area. Regions without get the
    mean colour of the training pictures. Source: Bazzani et al. 2016, "Self-Taught Object
    Localization with Deep Networks" (mask-out). Differs: regions are
    ``regions.like_coloured`` on a few scales instead of a hierarchy that grows by the
    drops; their votes make a map, from which a box rule takes the boxes.
    Cost: a forward pass a region and one more, 85 by default, at most 530.
    """
    with torch.inference_mode():
        drops = torch.zeros_like(looked.images_u8[:, 0], dtype=torch.float32)
        for row, image in enumerate(looked.images_u8):
            regions = _regions(image, options)
            without = partial(torch.index_select, ~regions, 0)
            lost = masked_drops(looked, target, row, len(regions), without)
            density = lost / regions.float().mean((1, 2))
            drops[row] = torch.einsum("n,nhw->hw", density, regions.float())
        return drops / len(options.per_side())


def _regions(image_u8: Tensor, options: RegionOptions) -> Tensor:
    """(N, S, S) bool: the regions of a picture (3, S, S) at all scales; none is empty."""
    rgb = np.ascontiguousarray(image_u8.permute(1, 2, 0).cpu().numpy())
    found = []
    for per_side in options.per_side():
        number = torch.from_numpy(like_coloured(rgb, per_side))
        masks = number == torch.arange(per_side**2)[:, None, None]
        found.append(masks[masks.any(2).any(1)])
    return torch.cat(found).to(image_u8.device)

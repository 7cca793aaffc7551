"""Maps of any range brought to 0..1."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from backend.domain import SaliencyMap


def stretch(maps: Tensor) -> Tensor:
    """(B, h, w): each map's least value to 0, its largest to 1; a flat map to zeros."""
    low = maps.amin((1, 2), keepdim=True)
    span = maps.amax((1, 2), keepdim=True) - low
    # Differences that float32 rounding alone explains are no saliency.
    flat = span <= 1e-6 * (1 + low.abs())
    return ((maps - low) / span.masked_fill(flat, 1)).masked_fill(flat, 0)


def to_saliency(maps: Tensor) -> SaliencyMap:
    """Stretched maps on the host."""
    return SaliencyMap(np.ascontiguousarray(stretch(maps).cpu().numpy(), np.float32))

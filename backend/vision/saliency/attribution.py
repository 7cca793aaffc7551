"""What each value of a picture has to do with its score, from gradients alone.

Everywhere: scores maps pixels (B, C, H, W) to (B,), no score depending on another
picture's pixels, so that one backward pass of the sum serves the batch. Results are
signed and have the shape, type and device of pixels, which are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Scores = Callable[[Tensor], Tensor]


def slope(scores: Scores, pixels: Tensor) -> Tensor:
    """The derivative of each picture's score. Source: Simonyan et al. 2013, section 3.1."""
    with torch.enable_grad():
        leaf = pixels.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(scores(leaf).sum(), leaf)
    return gradient


def input_x_gradient(scores: Scores, pixels: Tensor) -> Tensor:
    """Slope times distance from 0. Source: Shrikumar et al. 2016, "Not Just a Black Box"."""
    return slope(scores, pixels) * pixels


def smoothgrad(
    scores: Scores, pixels: Tensor, *, draws: int = 16, noise: float = 0.15, seed: int = 0
) -> Tensor:
    """Mean slope over noisy copies of each picture.

    noise: standard deviation, as a share of the span of the picture's values. The draws
    come from the seed and are the same for every picture of a batch, so that a picture's
    map depends on nothing else. Source: Smilkov et al. 2017, sections 2 and 3.2.
    Cost: a forward and backward pass a draw.
    """
    span = pixels.amax((1, 2, 3), keepdim=True) - pixels.amin((1, 2, 3), keepdim=True)
    # On the host, because devices draw different numbers from one seed.
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(pixels)
    for _ in range(draws):
        grain = torch.randn(pixels.shape[1:], generator=generator).to(pixels)
        total += slope(scores, pixels + noise * span * grain)
    return total / draws


def integrated_gradients(
    scores: Scores, pixels: Tensor, *, baseline: Tensor | float = 0.0, steps: int = 16
) -> Tensor:
    """The share of each value in how far a picture's score is from that of the baseline.

    baseline: broadcasts to pixels. Shares add up to the difference of the scores, as
    nearly as Gauss-Legendre quadrature with this number of steps can tell.
    Source: Sundararajan et al. 2017, equation 1. Cost: a forward and backward pass a step.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    way = pixels - baseline
    total = torch.zeros_like(pixels)
    for node, weight in zip(nodes, weights, strict=True):
        # leggauss is for -1..1, the path runs from 0 to 1.
        total += float(weight) / 2 * slope(scores, baseline + (float(node) + 1) / 2 * way)
    return total * way


def guided_mask(attribution: Tensor, observable_bhw: Tensor) -> Tensor:
    """The attribution where pixels could be observed, 0 elsewhere.

    attribution: (B, C, H, W). observable_bhw: (B, H, W) bool. What lies behind an
    occlusion or outside a region of interest can then neither get a box nor move one.
    """
    return attribution * observable_bhw[:, None]

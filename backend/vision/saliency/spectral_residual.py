"""What stands out from the spectrum of the pixels, without a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import BLANK_LEVELS, Looked, resized
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency

SIDE_PX = 64
"""Side of the picture whose spectrum is taken, the paper's: it sets the size of what is found."""

_GREY_RGB = (0.299, 0.587, 0.114)
_BLUR_PX = 2.5
_BLUR_RADIUS_PX = 8
_LEAST_AMPLITUDE = 1e-6


@saliency("spectral_residual", box_rule="threshold")
def spectral_residual(looked: Looked, target: Target) -> SaliencyMap:
    """The residual of the grey picture, a map of 64 x 64 pixels; the target plays no part.

    Cost: two Fourier transforms of 64 x 64; no pass through the network.
    """
    with torch.inference_mode():
        images = resized(looked.images_u8, SIDE_PX).double()
        weight = images.new_tensor(_GREY_RGB)[:, None, None]
        return to_saliency(residual((images * weight).sum(1)).float())


def residual(grey_bhw: Tensor) -> Tensor:
    """(B, h, w) energy that the smooth part of the log spectrum does not account for.

    grey_bhw: float64, in 0..255. A picture that spans at most BLANK_LEVELS gives zeros: its
    phases are rounding.
    Source: Hou and Zhang 2007, "Saliency Detection: A Spectral Residual Approach",
    equations 9 to 12. Differs: the last blur has a standard deviation of 2.5 pixels, as in
    the authors' program, where the paper says 8; amplitudes end at 1e-6, as 0 has no
    logarithm.
    """
    if not len(grey_bhw):  # which torch's Fourier transforms refuse
        return grey_bhw
    spectrum = torch.fft.fft2(grey_bhw)
    log_amplitude = spectrum.abs().clamp_min(_LEAST_AMPLITUDE).log()
    rest = log_amplitude - _local_mean(log_amplitude)
    back = torch.fft.ifft2(torch.polar(rest.exp(), spectrum.angle()))
    energy = _blurred(back.abs().square())
    shown = grey_bhw.amax((1, 2)) - grey_bhw.amin((1, 2)) > BLANK_LEVELS
    return energy * shown[:, None, None]


def _local_mean(values_bhw: Tensor) -> Tensor:
    """Mean over 3 x 3; a spectrum goes round, so its edges are neighbours."""
    around = F.pad(values_bhw[:, None], (1, 1, 1, 1), mode="circular")
    return F.avg_pool2d(around, 3, stride=1)[:, 0]


def _blurred(values_bhw: Tensor) -> Tensor:
    """Gaussian blur; pixels beyond the edge repeat it."""
    radius = _BLUR_RADIUS_PX
    at = torch.arange(-radius, radius + 1, dtype=values_bhw.dtype, device=values_bhw.device)
    kernel = torch.exp(-at.square() / (2 * _BLUR_PX**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(values_bhw[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]

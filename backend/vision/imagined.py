"""A picture of what a class looks like to a network, for looking at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.errors import ShapeError
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import Backbone

_START = 0.01
"""Standard deviation of the first spectrum: an almost even grey."""

_COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""How red, green and blue (rows) of ImageNet go together, from the authors' program."""


@dataclass(frozen=True, slots=True)
class Imagining:
    """How to draw.

    size_px: side of the picture, None for that of the backbone, 224 at most. steps: of
    Adam, with this rate. jitter: largest shift before each step, as a share of the side.
    decay: of the score for each unit of the pixels' mean square distance from the mean
    colour, in the network's units. seed: of the first spectrum and the shifts.
    """

    size_px: int | None = None
    steps: int = 128
    rate: float = 0.05
    jitter: float = 0.07
    decay: float = 1.0
    seed: int = 0


def activation_maximisation(
    backbone: Backbone,
    class_index: int,
    options: Imagining = Imagining(),
) -> Tensor:
    """(3, S, S) uint8 RGB on the host: a picture of a high score for one class.

    backbone: with its own head, or with a project's labels as its classes (see
    ``Backbone.classifying``). The same options give the same picture on one device.
    Source: Simonyan et al. 2013, "Deep Inside Convolutional Networks", equation 1, for the
    score before the softmax and its decay; Olah et al. 2017, "Feature Visualization", for
    the spectrum whose amplitudes fall with the frequency, the colours that go together and
    the jitter, without which the picture is noise that means nothing to a person.
    Cost: a float32 forward and backward pass a step. Raises: ShapeError for a class that
    the backbone does not have.
    """
    if not 0 <= class_index < len(backbone.classes):
        raise ShapeError(
            f"The backbone has classes 0 to {len(backbone.classes) - 1}, got {class_index}."
        )
    side = options.size_px or min(backbone.size_px, 224)
    # On the host, because devices draw different numbers from one seed.
    generator = torch.Generator().manual_seed(options.seed)
    reach = round(options.jitter * side)
    architecture = ARCHITECTURES.get(backbone.identity.name)
    with torch.inference_mode(False), torch.enable_grad():
        mean, std = (
            torch.tensor(of, device=backbone.device)[:, None, None]
            for of in (architecture.mean_rgb, architecture.std_rgb)
        )
        start = _START * torch.randn((3, side, side // 2 + 1, 2), generator=generator)
        spectrum = start.to(backbone.device).requires_grad_(True)
        adam = torch.optim.Adam([spectrum], lr=options.rate)
        for _ in range(options.steps):
            shift = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            # A picture of waves goes on at the other side, so rolling it tears nothing.
            pixels = (_rgb(spectrum, side).roll(shift, (1, 2)) - mean) / std
            score = backbone.logits_at(pixels[None])[0, class_index]
            loss = options.decay * pixels.square().mean() - score
            (spectrum.grad,) = torch.autograd.grad(loss, spectrum)
            adam.step()
        return (255 * _rgb(spectrum.detach(), side)).round().to(torch.uint8).cpu()


def _rgb(spectrum: Tensor, side: int) -> Tensor:
    """(3, S, S) in 0..1 from amplitudes (3, S, S // 2 + 1, 2) of a natural picture's scale."""
    rows = torch.fft.fftfreq(side, device=spectrum.device)
    columns = torch.fft.rfftfreq(side, device=spectrum.device)
    frequency = torch.hypot(rows[:, None], columns[None]).clamp_min(1 / side)
    waves = torch.view_as_complex(spectrum.contiguous()) / frequency
    # Orthonormal waves times 1 / frequency: values of about 1 whatever the side.
    plane = torch.fft.irfft2(waves, s=(side, side), norm="ortho") / 4
    colours = spectrum.new_tensor(_COLOURS)
    colours = colours / torch.linalg.vector_norm(colours, dim=0).max()
    return torch.einsum("rc,chw->rhw", colours, plane).sigmoid()

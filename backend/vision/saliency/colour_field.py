"""A Gaussian of a picture's pixels, from which a part can be drawn anew given its border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BORDER_PX = 4
"""Width of the border on which a part depends. The paper has 2 pixels round its 10."""

_GRAIN = 1e-3
"""Share of variance without correlation: it keeps the equations solvable."""

Span = tuple[int, int]
"""From and to, excluded."""


@dataclass(frozen=True, slots=True)
class ColourField:
    """The same at every place: mean, covariance of the colours, correlation by distance.

    Two values' covariance is that of their colour channels times the correlation at their
    distance. The picture counts as one that repeats on every side, which makes its own
    statistics those of a Gaussian. All float64 on the host.

    mean_rgb: (3,). colour: (3, 3) covariance. spectrum: (H, W), with the mean 1.
    """

    mean_rgb: Tensor
    colour: Tensor
    spectrum: Tensor

    @classmethod
    def of(cls, image_chw: Tensor) -> ColourField:
        """The field with the statistics of one picture (3, H, W), 0..255."""
        values = image_chw.cpu().double()
        mean = values.mean((1, 2))
        centred = values - mean[:, None, None]
        flat = centred.flatten(1)
        power = torch.fft.fft2(centred).abs().square().sum(0)
        level = power.mean()
        spectrum = power / level if level > 0 else torch.ones_like(power)
        return cls(mean, flat @ flat.T / flat.shape[1], (spectrum + _GRAIN) / (1 + _GRAIN))

    def drawn(self, count: int, seed: int) -> Tensor:
        """(count, 3, H, W) pictures of this field, unconditional."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, 3, *self.spectrum.shape)
        white = torch.randn(shape, generator=generator, dtype=torch.float64)
        grey = torch.fft.ifft2(torch.fft.fft2(white) * self.spectrum.sqrt()).real
        values, vectors = torch.linalg.eigh(self.colour)
        root = vectors * values.clamp_min(0).sqrt()
        coloured = torch.einsum("cd,ndhw->nchw", root, grey)
        return coloured + self.mean_rgb[:, None, None]

    def correlation(self, one: Tensor, other: Tensor) -> Tensor:
        """(N, M) between pixels (N, 2) and pixels (M, 2), as row and column."""
        by_distance: Tensor = torch.fft.ifft2(self.spectrum).real
        height, width = self.spectrum.shape
        away = one[:, None] - other
        return by_distance[away[..., 0] % height, away[..., 1] % width]


class Redraw:
    """Draws parts of one picture anew, each given the border round it.

    By Matheron's rule: a picture of the field, moved inside by what best predicts the
    part from the difference of the borders, is a draw from the conditional Gaussian.
    """

    def __init__(self, image_chw: Tensor, samples: int, seed: int) -> None:
        self._image = image_chw.cpu().double()
        self._field = ColourField.of(image_chw)
        self._drawn = self._field.drawn(samples, seed)
        self._known: dict[tuple[_Stretch, _Stretch], _Equations] = {}

    def part(self, rows: Span, columns: Span) -> Tensor:
        """(samples, 3, h, w) uint8 for the rectangle of these rows and columns."""
        (top, down), (left, across) = (
            _with_border(span, side)
            for span, side in zip((rows, columns), self._image.shape[1:], strict=True)
        )
        # The same for all parts of one shape, unless the end of the picture is near.
        if (down, across) not in self._known:
            self._known[down, across] = _Equations.of(self._field, down, across)
        equations = self._known[down, across]
        window = (..., slice(top, top + down.length), slice(left, left + across.length))
        pixels = equations.solved(self._image[window], self._drawn[window])
        return pixels.round().clamp(0, 255).to(torch.uint8)


class _Stretch(NamedTuple):
    """Along one axis, a part with its border: where the part lies in it, and its length."""

    start: int
    stop: int
    length: int


def _with_border(span: Span, side: int) -> tuple[int, _Stretch]:
    """Where the border begins in the picture, and the stretch from there."""
    first, last = max(span[0] - BORDER_PX, 0), min(span[1] + BORDER_PX, side)
    return first, _Stretch(span[0] - first, span[1] - first, last - first)


@dataclass(frozen=True, slots=True)
class _Equations:
    """What a part is expected to be, given its border.

    part: (H, W) bool, where the part lies. factor: Cholesky factor (M, M) of the border's
    correlation. across: (N, M) correlation of the part's pixels with the border's.
    """

    part: Tensor
    factor: Tensor
    across: Tensor

    @classmethod
    def of(cls, field: ColourField, down: _Stretch, across: _Stretch) -> _Equations:
        part = torch.zeros((down.length, across.length), dtype=torch.bool)
        part[down.start : down.stop, across.start : across.stop] = True
        inside, border = part.nonzero(), (~part).nonzero()
        factor: Tensor = torch.linalg.cholesky(field.correlation(border, border))
        return cls(part, factor, field.correlation(inside, border))

    def solved(self, image: Tensor, drawn: Tensor) -> Tensor:
        """(n, 3, h, w) draws of the part from the picture (3, H, W) and draws (n, 3, H, W)."""
        off = (image - drawn)[..., ~self.part].flatten(0, 1)
        moved = (self.across @ torch.cholesky_solve(off.T, self.factor)).T
        rows = int(self.part.any(1).sum())
        inside = drawn[..., self.part]
        return (inside + moved.reshape(inside.shape)).reshape(*drawn.shape[:2], rows, -1)

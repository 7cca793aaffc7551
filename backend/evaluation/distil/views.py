"""Random training views: crops, mosaics, colour, blends.

All work is done in whole batches on the device of the pools, so that the same code feeds
two slow cores or a GPU. Choices that shape a batch (its side, its layout, whether it is
blended) are drawn once a batch, everything else once a photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.evaluation.distil.photos import PhotoPool
from backend.vision.architectures import IMAGENET_MEAN, IMAGENET_STD

GRID_PX = 8
"""Side of the cells in which coverage by boxes is known; tiles of a mosaic end on it."""


@dataclass(frozen=True)
class ViewOptions:
    """What may happen to a photo on its way to the networks.

    sides_px: canvas sides, drawn evenly. canvases: how many of 128 px make a batch; larger
    ones come in smaller batches. sharp_share: share of batches made of the sharp photos.
    tiles: chances of a canvas of 1 x 1, 2 x 2, 3 x 3 photos. least_area: least share of a
    photo that a crop keeps. blend: chance that a batch is blended with itself, shifted (half
    mixup, half cutmix).
    """

    sides_px: tuple[int, ...] = (96, 128, 128, 160, 224)
    canvases: int = 64
    sharp_share: float = 0.25
    tiles: tuple[float, float, float] = (0.5, 0.35, 0.15)
    least_area: float = 0.3
    blend: float = 0.25


@dataclass(frozen=True)
class Views:
    """A batch as both networks see it.

    images: (B, 3, S, S) float32, normalised as ImageNet networks expect.
    class_share: (B, 1000) float32, rows sum to 1, or None for mosaics, whose one answer
    is no fair sum of their tiles. class_space: outputs that compete for the label, None:
    all. coverage: (B, S/8, S/8) float32 share of each cell inside a box, or None where no
    boxes are known.
    """

    images: Tensor
    class_share: Tensor | None
    class_space: Tensor | None
    coverage: Tensor | None


def normalise(images_unit: Tensor) -> Tensor:
    """(B, 3, H, W) float in [0, 1] with ImageNet's mean and deviation taken out."""
    mean = images_unit.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = images_unit.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (images_unit - mean) / std


def draw_views(
    boxed: PhotoPool,
    sharp: PhotoPool | None,
    options: ViewOptions,
    rng: torch.Generator,
    outputs: int = 1000,
) -> Views:
    """One random batch; rng is a CPU generator, so a batch is the same on every device."""
    side = options.sides_px[_integer(rng, len(options.sides_px))]
    batch = max(2, round(options.canvases * (128 / side) ** 2))
    use_sharp = sharp is not None and _chance(rng) < options.sharp_share
    pool = sharp if use_sharp and sharp is not None else boxed
    tiles = 1 + int(torch.multinomial(torch.tensor(options.tiles), 1, generator=rng))
    edges_y, edges_x = _edges(side, tiles, rng), _edges(side, tiles, rng)
    device = pool.rgb_u8.device
    images = torch.empty(batch, 3, side, side, device=device)
    shares = torch.zeros(batch, outputs, device=device)
    cells = side // GRID_PX
    coverage = None
    if pool.box_unit is not None:
        coverage = torch.zeros(batch, cells, cells, device=device)
    for y0, y1 in pairwise(edges_y):
        for x0, x1 in pairwise(edges_x):
            drawn = torch.randint(len(pool), (batch,), generator=rng).to(device)
            photos = pool.select(drawn)
            window, mirrored = _windows(batch, options.least_area, rng)
            window, mirrored = window.to(device), mirrored.to(device)
            images[:, :, y0:y1, x0:x1] = _crop(photos.rgb_u8, window, mirrored, (y1 - y0, x1 - x0))
            weight = (y1 - y0) * (x1 - x0) / side**2
            shares.scatter_add_(
                1, photos.class_index[:, None], torch.full((batch, 1), weight, device=device)
            )
            if coverage is not None and photos.box_unit is not None:
                coverage[:, y0 // GRID_PX : y1 // GRID_PX, x0 // GRID_PX : x1 // GRID_PX] = (
                    _coverage(
                        photos.box_unit,
                        window,
                        mirrored,
                        ((y1 - y0) // GRID_PX, (x1 - x0) // GRID_PX),
                    )
                )
    images = _recolour(images, rng)
    if _chance(rng) < options.blend:
        images, shares, coverage = _blend(images, shares, coverage, rng)
    return Views(normalise(images), shares if tiles == 1 else None, pool.class_space, coverage)


def _integer(rng: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (1,), generator=rng))


def _chance(rng: torch.Generator) -> float:
    return float(torch.rand(1, generator=rng))


def _edges(side: int, tiles: int, rng: torch.Generator) -> list[int]:
    """Where the tiles along one side begin and end, each at least half its even share."""
    if tiles == 1:
        return [0, side]
    shares = torch.rand(tiles, generator=rng) + 1.0
    inner = (torch.cumsum(shares, 0)[:-1] / shares.sum() * side / GRID_PX).round() * GRID_PX
    return [0, *(int(edge) for edge in inner), side]


def _windows(batch: int, least_area: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, 4) x0 y0 x1 y1 of random crops as shares of the photo; (B,) bool, mirrored."""
    area = least_area + (1 - least_area) * torch.rand(batch, generator=rng)
    ratio = torch.exp((torch.rand(batch, generator=rng) - 0.5) * 2 * 0.29)  # 3/4 to 4/3
    width = torch.sqrt(area * ratio).clamp(max=1)
    height = torch.sqrt(area / ratio).clamp(max=1)
    x0 = torch.rand(batch, generator=rng) * (1 - width)
    y0 = torch.rand(batch, generator=rng) * (1 - height)
    mirrored = torch.rand(batch, generator=rng) < 0.5
    return torch.stack([x0, y0, x0 + width, y0 + height], dim=1), mirrored


def _crop(rgb_u8: Tensor, window: Tensor, mirrored: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(B, 3, h, w) float in [0, 1]: the windows resized to size_hw."""
    x0, y0, x1, y1 = window.unbind(1)
    sign = torch.where(mirrored, -1.0, 1.0)
    theta = torch.zeros(len(window), 2, 3, device=window.device)
    theta[:, 0, 0], theta[:, 0, 2] = (x1 - x0) * sign, x0 + x1 - 1
    theta[:, 1, 1], theta[:, 1, 2] = y1 - y0, y0 + y1 - 1
    photos = rgb_u8.float() / 255
    # A tile much smaller than its photo would alias: halve the photo first.
    while photos.shape[2] >= 3 * size_hw[0] and photos.shape[3] >= 3 * size_hw[1]:
        photos = F.avg_pool2d(photos, 2)
    grid = F.affine_grid(theta, [len(window), 3, *size_hw], align_corners=False)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _coverage(
    box_unit: Tensor, window: Tensor, mirrored: Tensor, cells_hw: tuple[int, int]
) -> Tensor:
    """(B, rows, columns) share of each cell of a cropped photo that its box covers."""
    x0, y0, x1, y1 = window.unbind(1)
    left = (box_unit[:, 0] - x0) / (x1 - x0)
    right = (box_unit[:, 2] - x0) / (x1 - x0)
    left, right = torch.where(mirrored, 1 - right, left), torch.where(mirrored, 1 - left, right)
    top = (box_unit[:, 1] - y0) / (y1 - y0)
    bottom = (box_unit[:, 3] - y0) / (y1 - y0)
    return (
        _overlap(top, bottom, cells_hw[0])[:, :, None]
        * _overlap(left, right, cells_hw[1])[:, None, :]
    )


def _overlap(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """(B, cells) share of each of the equal cells of [0, 1] inside [low, high]."""
    begin = torch.arange(cells, device=low.device) / cells
    end = begin + 1 / cells
    inside = torch.minimum(high[:, None], end) - torch.maximum(low[:, None], begin)
    return (inside * cells).clamp(0, 1)


def _recolour(images_unit: Tensor, rng: torch.Generator) -> Tensor:
    """Random brightness, contrast, saturation and tint, as one colour matrix a canvas."""
    batch = len(images_unit)
    spread = torch.rand(batch, 4, generator=rng) * 2 - 1
    tint = (torch.rand(batch, 3, generator=rng) * 2 - 1) * 0.08
    grey_only = torch.rand(batch, generator=rng) < 0.05
    saturation = torch.where(grey_only, torch.zeros(batch), 1 + 0.4 * spread[:, 0])
    gain = 1 + 0.4 * spread[:, 1]
    luma = torch.tensor([0.299, 0.587, 0.114]).expand(3, 3)
    matrix = saturation[:, None, None] * torch.eye(3) + (1 - saturation)[:, None, None] * luma
    matrix = matrix * gain[:, None, None] * (1 + tint)[:, :, None]
    offset = 0.45 * (1 - gain) + 0.12 * spread[:, 2]
    matrix, offset = matrix.to(images_unit.device), offset.to(images_unit.device)
    flat = torch.bmm(matrix, images_unit.flatten(2)) + offset[:, None, None]
    return flat.clamp(0, 1).view_as(images_unit)


def _blend(
    images: Tensor, shares: Tensor, coverage: Tensor | None, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The batch mixed with (mixup) or pasted into (cutmix) its neighbour in the batch."""
    side = images.shape[-1]
    cells = side // GRID_PX
    if _chance(rng) < 0.5:
        keep = 0.6 + 0.4 * _chance(rng)
        images = keep * images + (1 - keep) * images.roll(1, 0)
        if coverage is not None:
            coverage = keep * coverage + (1 - keep) * coverage.roll(1, 0)
    else:
        height = 2 + _integer(rng, max(1, cells // 2))
        width = 2 + _integer(rng, max(1, cells // 2))
        top, left = _integer(rng, cells - height + 1), _integer(rng, cells - width + 1)
        keep = 1 - height * width / cells**2
        rows, columns = slice(top, top + height), slice(left, left + width)
        if coverage is not None:
            pasted = coverage.roll(1, 0)
            coverage = coverage.clone()
            coverage[:, rows, columns] = pasted[:, rows, columns]
        rows_px = slice(top * GRID_PX, (top + height) * GRID_PX)
        columns_px = slice(left * GRID_PX, (left + width) * GRID_PX)
        donor = images.roll(1, 0)
        images = images.clone()
        images[:, :, rows_px, columns_px] = donor[:, :, rows_px, columns_px]
    return images, keep * shares + (1 - keep) * shares.roll(1, 0), coverage

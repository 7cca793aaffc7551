"""Drawn pictures whose boxes are known exactly.

They stand in for photos where none can be had: figures of one colour family on a textured
background, everything a function of a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.domain import Boxes, U8Array

SUPERSAMPLE = 2
"""Figures are drawn this much larger for smooth edges."""

Brush = Callable[[U8Array, U8Array, float], None]
"""Draws on a (S, S, 3) canvas and its (S, S) mask; the float in [0, 1) varies the figure."""


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """rgb_u8: (H, W, 3). boxes: one per figure, the label is the figure's name, score 1."""

    rgb_u8: U8Array
    boxes: Boxes


def figure_names() -> tuple[str, ...]:
    """What can be drawn."""
    return tuple(_FIGURES)


def draw_picture(
    seed: int,
    size_hw: tuple[int, int] = (480, 640),
    figures: int = 1,
    *,
    share: tuple[float, float] = (0.35, 0.6),
    names: Sequence[str] | None = None,
) -> DrawnPicture:
    """A picture with `figures` figures that do not overlap.

    share: least and largest side of a figure as part of the picture's shorter side.
    names: which figures, in this order and as many; None draws `figures` by chance.
    A figure that finds no free place after 50 tries is left out, so a very small picture
    may hold fewer. The same arguments draw the same pixels.
    """
    rng = np.random.default_rng(seed)
    canvas = textured_ground(rng, size_hw)
    height, width = size_hw
    placed: list[tuple[int, int, int, int]] = []
    drawn: list[str] = []
    for at in range(figures if names is None else len(names)):
        name = str(rng.choice(list(_FIGURES))) if names is None else names[at]
        patch, mask = _figure(rng, name, int(min(size_hw) * rng.uniform(*share)))
        side_h, side_w = mask.shape
        for _attempt in range(50):
            x = int(rng.integers(0, max(1, width - side_w + 1)))
            y = int(rng.integers(0, max(1, height - side_h + 1)))
            box = (x, y, x + side_w, y + side_h)
            if box[2] <= width and box[3] <= height and not any(_meet(box, o) for o in placed):
                part = canvas[y : y + side_h, x : x + side_w]
                opacity = (mask.astype(np.float32) / 255.0)[..., None]
                part[:] = np.rint(part * (1 - opacity) + patch * opacity).astype(np.uint8)
                placed.append(box)
                drawn.append(name)
                break
    boxes = Boxes(
        np.array(placed, np.float32).reshape(-1, 4),
        np.ones(len(placed), np.float32),
        tuple(drawn),
        size_hw,
    )
    return DrawnPicture(cv2.GaussianBlur(canvas, (3, 3), 0).astype(np.uint8), boxes)


def write_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """count JPEG files of changing shape, in order, each with one figure as large as in a photo."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = ((480, 640), (640, 480), (500, 500))
    paths = []
    for index in range(count):
        drawn = draw_picture(seed * 100_003 + index, shapes[index % 3], share=(0.5, 0.8))
        path = folder / f"drawn-{index:03d}.jpg"
        encoded = cv2.imencode(".jpg", drawn.rgb_u8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        path.write_bytes(encoded.tobytes())
        paths.append(path)
    return paths


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def textured_ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> U8Array:
    """(H, W, 3): what figures are drawn on."""
    # Noise at four scales over a slow change of colour looks like grass, sand or a wall.
    height, width = size_hw
    tint = rng.uniform(70, 190, 3)
    slope = np.linspace(-25, 25, height)[:, None, None]
    texture = np.zeros((height, width, 1))
    for cells in (4, 16, 64, 160):
        coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        texture[..., 0] += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 5, (height, width, 3))
    return np.clip(tint + slope + 9 * texture + grain, 0, 255).astype(np.uint8)


def _figure(rng: np.random.Generator, name: str, side_px: int) -> tuple[U8Array, U8Array]:
    """A patch and its mask, both cropped to the figure: (h, w, 3) and (h, w) uint8."""
    side = max(8, side_px) * SUPERSAMPLE
    canvas, mask = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    hue, saturation = int(rng.integers(0, 180)), int(rng.integers(120, 230))
    _FIGURES[name](canvas, mask, float(rng.random()))
    # A brush paints shades of grey; the figure gets its colour and some fur here.
    fur = cv2.GaussianBlur(rng.normal(0, 30, (side, side)).astype(np.float32), (0, 0), 1.5)
    value = np.clip(canvas[..., 0] + fur, 0, 255).astype(np.uint8)
    hsv = np.dstack([np.full_like(value, hue), np.full_like(value, saturation), value])
    patch = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    small = (max(1, side // SUPERSAMPLE),) * 2
    patch = cv2.resize(patch, small, interpolation=cv2.INTER_AREA)
    opaque = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
    rows, columns = np.flatnonzero(opaque.max(1) > 127), np.flatnonzero(opaque.max(0) > 127)
    area = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return patch[area].astype(np.uint8), opaque[area]


class _Pen:
    """Draws the same shape on canvas and mask, in parts of the side length."""

    def __init__(self, canvas: U8Array, mask: U8Array) -> None:
        self._layers = ((canvas, None), (mask, 255))
        self._side = canvas.shape[0]

    def ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        grey: int,
        turn_deg: float = 0,
    ) -> None:
        x, y = (int(part * self._side) for part in centre)
        rx, ry = (max(1, int(part * self._side)) for part in radii)
        for layer, opaque in self._layers:
            colour = (opaque or grey,) * 3
            cv2.ellipse(layer, (x, y), (rx, ry), turn_deg, 0, 360, colour, -1, cv2.LINE_AA)

    def polygon(self, *corners: tuple[float, float], grey: int) -> None:
        points = np.array([[int(x * self._side), int(y * self._side)] for x, y in corners])
        for layer, opaque in self._layers:
            cv2.fillPoly(layer, [points.astype(np.int32)], (opaque or grey,) * 3, cv2.LINE_AA)


def _ball(canvas: U8Array, mask: U8Array, vary: float) -> None:
    pen = _Pen(canvas, mask)
    for ring in range(12):
        shrink = 1 - ring / 12
        shift = (1 - shrink) * (0.1 + 0.1 * vary)
        pen.ellipse((0.5 - shift, 0.5 - shift), (0.45 * shrink, 0.45 * shrink), 90 + 13 * ring)


def _cat(canvas: U8Array, mask: U8Array, vary: float) -> None:
    pen = _Pen(canvas, mask)
    pen.ellipse((0.85, 0.5), (0.06, 0.28), 120, turn_deg=20 + 20 * vary)
    for x in (0.3, 0.45, 0.65, 0.78):
        pen.ellipse((x, 0.8), (0.05, 0.16), 130)
    pen.ellipse((0.55, 0.62), (0.32, 0.2), 150)
    pen.ellipse((0.27, 0.42), (0.19, 0.17), 175)
    pen.polygon((0.1, 0.4), (0.11, 0.13), (0.26, 0.28), grey=160)
    pen.polygon((0.28, 0.28), (0.42, 0.13), (0.45, 0.4), grey=160)
    for x in (0.2, 0.34):
        pen.ellipse((x, 0.4), (0.03, 0.04), 245)
        pen.ellipse((x, 0.4), (0.012, 0.035), 15)
    pen.ellipse((0.27, 0.49), (0.025, 0.018), 40)


def _fish(canvas: U8Array, mask: U8Array, vary: float) -> None:
    pen = _Pen(canvas, mask)
    pen.polygon((0.7, 0.5), (0.97, 0.28), (0.92, 0.5), (0.97, 0.74), grey=140)
    pen.polygon((0.35, 0.35), (0.5, 0.18), (0.65, 0.38), grey=130)
    pen.ellipse((0.42, 0.5), (0.38, 0.2 + 0.05 * vary), 180)
    for x in (0.4, 0.52, 0.64):
        pen.ellipse((x, 0.5), (0.02, 0.13), 110)
    pen.ellipse((0.18, 0.46), (0.035, 0.035), 250)
    pen.ellipse((0.17, 0.46), (0.018, 0.018), 10)


def _bird(canvas: U8Array, mask: U8Array, vary: float) -> None:
    pen = _Pen(canvas, mask)
    pen.polygon((0.6, 0.6), (0.96, 0.72), (0.92, 0.84), (0.55, 0.72), grey=90)
    for x in (0.42, 0.52):
        pen.polygon((x, 0.75), (x + 0.025, 0.75), (x + 0.025, 0.96), (x, 0.96), grey=70)
    pen.ellipse((0.48, 0.6), (0.27, 0.19), 170, turn_deg=20)
    pen.ellipse((0.29, 0.37), (0.14, 0.14), 190)
    pen.polygon((0.16, 0.34), (0.02, 0.4), (0.17, 0.43), grey=230)
    pen.ellipse((0.54, 0.6), (0.2, 0.1), 110, turn_deg=25 + 15 * vary)
    pen.ellipse((0.26, 0.34), (0.028, 0.028), 10)


_FIGURES: dict[str, Brush] = {"ball": _ball, "bird": _bird, "cat": _cat, "fish": _fish}

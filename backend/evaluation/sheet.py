"""A sheet that shows what methods make of pictures: a row a method, a panel a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import Picture, U8Array
from backend.vision.boxes.steps import Steps
from backend.vision.explain import Explanation
from backend.vision.overlay import cut_out, fitted, overlay, with_boxes, with_seeds, write
from backend.vision.units import Unit

PANELS = ("picture", "map", "seeds", "mask", "component", "boxes")
"""From left to right. Seeds: surely object green, surely ground blue."""

_PAPER = 255
_GAP_PX = 6
_LINE_PX = 20
_BASE_PX = 14
"""From the top of a line of text to its base line."""

_WIDEST = 3
"""A panel's width by its height, at most; of a wider picture it is less high."""

_LETTER_PX = 9
"""Of the widest letters; a line that is longer than the panels widens the sheet."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One method on one picture. caption: a line above its panels, "" for none."""

    caption: str
    picture: Picture
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the rows below it."""

    heading: str
    rows: tuple[SheetRow, ...]


def draw_sheet(sections: Sequence[Section], height_px: int = 200) -> U8Array:
    """(H, W, 3) uint8 RGB: panels at most height_px high, named by ``PANELS`` above each."""
    lines: list[U8Array] = []
    for section in sections:
        lines.append(_text_line(section.heading))
        for row in section.rows:
            panels = _panels(row, height_px)
            lines += [_text_line(row.caption), _names(panels), _beside(panels)]
    return _stacked(lines)


def draw_gallery(sections: Sequence[Section], height_px: int = 130, across: int = 6) -> U8Array:
    """(H, W, 3) uint8 RGB: maps with their boxes under the methods' names, across in a line."""
    lines: list[U8Array] = []
    for section in sections:
        lines.append(_text_line(section.heading))
        cells = [_cell(row, height_px) for row in section.rows]
        widest = max((cell.shape[1] for cell in cells), default=0)
        cells = [_widened(cell, widest) for cell in cells]
        lines += [_beside(cells[at : at + across]) for at in range(0, len(cells), across)]
    return _stacked(lines)


def draw_units(found: Sequence[Unit], pictures: Sequence[Picture], height_px: int = 160) -> U8Array:
    """(H, W, 3) uint8 RGB: a row a channel with the pictures that excite it, tinted where.

    found: of these pictures, by their position.
    """
    lines: list[U8Array] = []
    for one in found:
        lines.append(
            _text_line(f"channel {one.channel}: weight {one.weight:.3f}, adds {one.share:.3f}")
        )
        small = [_panel(pictures[at], height_px) for at in one.pictures]
        lines.append(_beside([overlay(*both) for both in zip(small, one.maps_khw, strict=True)]))
    return _stacked(lines)


def _stacked(lines: Sequence[U8Array]) -> U8Array:
    width = max((line.shape[1] for line in lines), default=1)
    return np.concatenate([_widened(line, width) for line in lines]) if lines else _blank(1, 1)


def _panels(row: SheetRow, height_px: int) -> list[U8Array]:
    small = _panel(row.picture, height_px)
    explanation = row.explanation
    return [
        small,
        overlay(small, explanation.values_hw),
        _step(small, explanation, lambda one: with_seeds(small, one.sure_hw, one.ground_hw)),
        _step(small, explanation, lambda one: cut_out(small, one.mask_hw)),
        _step(small, explanation, lambda one: cut_out(small, one.component_hw)),
        with_boxes(small, explanation.boxes),
    ]


def _cell(row: SheetRow, height_px: int) -> U8Array:
    small, explanation = _panel(row.picture, height_px), row.explanation
    drawn = with_boxes(overlay(small, explanation.values_hw), explanation.boxes, named=False)
    name = _text_line(explanation.method)
    width = max(drawn.shape[1], name.shape[1])
    return np.concatenate([_widened(line, width) for line in (name, drawn)])


def _widened(line: U8Array, width_px: int) -> U8Array:
    return np.pad(line, ((0, 0), (0, width_px - line.shape[1]), (0, 0)), constant_values=_PAPER)


def _panel(picture: Picture, height_px: int) -> U8Array:
    return fitted(picture.rgb_u8, height_px, _WIDEST * height_px)


def _step(small: U8Array, explanation: Explanation, draw: Callable[[Steps], U8Array]) -> U8Array:
    if explanation.steps is None:  # the rule has no such step
        return _blank(small.shape[0], small.shape[1])
    return draw(explanation.steps)


def _names(panels: Sequence[U8Array]) -> U8Array:
    line = _blank(_LINE_PX, sum(panel.shape[1] + _GAP_PX for panel in panels))
    left = 0
    for name, panel in zip(PANELS, panels, strict=True):
        if panel.shape[1] >= _LETTER_PX * len(name):
            write(line, name, (left, _BASE_PX), outlined=False)
        left += panel.shape[1] + _GAP_PX
    return line


def _text_line(text: str) -> U8Array:
    line = _blank(_LINE_PX if text else 1, max(1, _LETTER_PX * len(text)))
    if text:
        write(line, text, (0, _BASE_PX), outlined=False)
    return line


def _beside(panels: Sequence[U8Array]) -> U8Array:
    gap = _blank(panels[0].shape[0], _GAP_PX)
    row = np.concatenate([part for panel in panels for part in (panel, gap)], 1)
    return np.pad(row, ((0, _GAP_PX), (0, 0), (0, 0)), constant_values=_PAPER)


def _blank(height_px: int, width_px: int) -> U8Array:
    return np.full((height_px, width_px, 3), _PAPER, np.uint8)

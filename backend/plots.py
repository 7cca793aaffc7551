"""Plots as SVG: lines over a number, bars over a few intervals.

Nothing but text is needed to make or show them. Series differ by colour, dash and mark,
and every plot carries its figures as a description for those who do not see it. The classes
``paper``, ``ink`` and ``grid`` let a page's style give it other colours, in the dark say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 40, 48
_KEY_LINE_PX = 18
_INK, _GRID = "#222", "#ddd"

# Okabe and Ito 2008: eight colours that stay apart with every kind of colour vision; the
# yellow is left out, it is too faint on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 3", "12 4")


@dataclass(frozen=True, slots=True)
class Series:
    """A named line through points (x, y), in the order of x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A named quantity, at least 0."""

    name: str
    value: float


def line_plot(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """An ``<svg>`` of lines; y runs from 0 to 1 or to the largest value.

    Series without points appear in the key alone.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    whole = all(x == round(x) for x in xs)
    x_ticks = _ticks(min(xs, default=0.0), max(xs, default=1.0), 1.0 if whole else 0.0)
    y_ticks = _ticks(0.0, max([1.0, *ys]))
    key_px = _KEY_LINE_PX * len(series)
    frame = _Frame(x_ticks[0], x_ticks[-1], y_ticks[-1])
    parts = [*_axes(frame, x_ticks, y_ticks, x_name, y_name)]
    for at, one in enumerate(series):
        colour, dash = _COLOURS[at % len(_COLOURS)], _DASHES[at % len(_DASHES)]
        placed = [(frame.x(x), frame.y(y)) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        stroke = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" fill="none"'
        parts.append(f'<polyline points="{path}" {stroke}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        row = HEIGHT_PX + _KEY_LINE_PX * at + 8
        parts.append(f'<line x1="{_LEFT}" y1="{row}" x2="{_LEFT + 32}" y2="{row}" {stroke}/>')
        parts.append(_text(_LEFT + 40, row + 4, one.name))
    told = "; ".join(
        f"{one.name}: " + ", ".join(f"{x:g} {y:.3g}" for x, y in one.points) for one in series
    )
    return _svg(title, told, HEIGHT_PX + key_px + 4, parts)


def bar_plot(title: str, x_name: str, y_name: str, bars: Sequence[Bar]) -> str:
    """An ``<svg>`` of upright bars, in their order."""
    y_ticks = _ticks(0.0, max([1.0, *(bar.value for bar in bars)]))
    frame = _Frame(0.0, float(max(1, len(bars))), y_ticks[-1])
    parts = [*_axes(frame, (), y_ticks, x_name, y_name)]
    for at, bar in enumerate(bars):
        left, right, top = frame.x(at + 0.1), frame.x(at + 0.9), frame.y(bar.value)
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{frame.y(0) - top:.1f}" fill="{_COLOURS[0]}"/>'
        )
        middle = (left + right) / 2
        parts.append(_text(middle, top - 4, f"{bar.value:g}", "middle"))
        parts.append(_text(middle, frame.y(0) + 16, bar.name, "middle"))
    told = ", ".join(f"{bar.name}: {bar.value:g}" for bar in bars)
    return _svg(title, told, HEIGHT_PX, parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to pixels."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return _LEFT + share * (WIDTH_PX - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT_PX - _BOTTOM - value / self.y_high * (HEIGHT_PX - _BOTTOM - _TOP)


def _ticks(low: float, high: float, least_step: float = 0.0) -> tuple[float, ...]:
    """Round numbers, about five, the first at most low and the last at least high."""
    if high <= low:
        high = low + 1.0
    rough = max((high - low) / 5, least_step)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [unit * power for unit in (1, 2, 2.5, 5, 10)]
    # What is counted has no halves.
    fitting = [step for step in steps if not least_step or step == round(step)]
    step = next(step for step in fitting if step >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(at * step, 12) for at in range(first, last + 1))


def _axes(
    frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, y_name: str
) -> list[str]:
    right, bottom = WIDTH_PX - _RIGHT, HEIGHT_PX - _BOTTOM
    parts = []
    for value in y_ticks:
        y = frame.y(value)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" '
            f'class="grid" stroke="{_GRID}"/>'
        )
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
    parts += [_text(frame.x(value), bottom + 16, f"{value:g}", "middle") for value in x_ticks]
    parts.append(
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" '
        f'class="ink" stroke="{_INK}" fill="none" stroke-width="1"/>'
    )
    middle = (_LEFT + right) / 2
    parts.append(_text(middle, bottom + 36, x_name, "middle"))
    turned = f'transform="rotate(-90 14 {(_TOP + bottom) / 2:.1f})"'
    parts.append(_text(14, (_TOP + bottom) / 2, y_name, "middle", turned))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="ink" fill="{_INK}" '
        f"{more}>"
        f"{escape(text)}</text>"
    )


def _svg(title: str, told: str, height_px: int, parts: Sequence[str]) -> str:
    heading = _text(_LEFT, 20, title, "start", 'font-weight="bold"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height_px}" '
        f'width="{WIDTH_PX}" height="{height_px}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>"
        f'<rect width="100%" height="100%" class="paper" fill="#fff"/>'
        f"{heading}{''.join(parts)}</svg>"
    )

"""Rectangles in pixels to Label Studio's percent, exact in floating point."""

from __future__ import annotations

from collections.abc import Sequence

_STEPS = 1_000_000
"""Steps in one percent: a pixel of a picture 20 000 wide has 5 000 of them."""
_FULL = 100 * _STEPS


def xyxy_px_to_percent(
    xyxy_px: Sequence[float], size_hw: tuple[int, int]
) -> dict[str, float] | None:
    """``x, y, width, height`` in percent, inside the picture; None for a box without area.

    xyxy_px: four corners in pixels, clamped to the picture of size_hw. The result holds
    ``x + width <= 100`` and ``width > 0`` in floating point, as it will be read.
    """
    height, width = size_hw
    x = _interval(xyxy_px[0], xyxy_px[2], width)
    y = _interval(xyxy_px[1], xyxy_px[3], height)
    if x is None or y is None:
        return None
    return {"x": x[0], "y": y[0], "width": x[1], "height": y[1]}


def _interval(low_px: float, high_px: float, size_px: int) -> tuple[float, float] | None:
    """Start and length in percent of the part of [low, high) inside [0, size)."""
    if not low_px < high_px:  # NaN compares false
        return None
    low_px, high_px = max(low_px, 0.0), min(high_px, float(size_px))
    if low_px >= high_px:
        return None
    start = min(round(low_px / size_px * _FULL), _FULL - 1)
    end = max(round(high_px / size_px * _FULL), start + 1)
    # Whole steps that add up to 100 do so in floats as well: the two errors together are
    # at most half of 100's last bit, and such a tie rounds to the even 100.
    return start / _STEPS, (end - start) / _STEPS

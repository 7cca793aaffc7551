"""What a way of looking finds in a video: things, and where each is over time."""

from __future__ import annotations

from dataclasses import dataclass

from backend.domain import FloatArray


@dataclass(frozen=True, slots=True)
class Spot:
    """A thing on one frame. frame: its number, from 0. time_s: when it is shown.

    xyxy_px: (4,) in pixels of the frame.

    score: 0..1. sureness: 0..1, how far the place is believed: seen is 1, carried is less.
    moved: (4,) by which its box moved since the spot before, as the points on it did (centre
    x and y in pixels, logarithms of width and height); None where nothing says so.
    """

    frame: int
    time_s: float
    xyxy_px: FloatArray
    score: float
    sureness: float = 1.0
    moved: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A thing through time. stretches: while it is to be seen without a break, in order of
    time, each of one spot or more at ascending frames.
    """

    label: str
    score: float
    stretches: tuple[tuple[Spot, ...], ...]

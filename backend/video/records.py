"""Tracks as JSON, between the jobs that look at the parts of a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from backend.video.tracks import Spot, Track

MOST_TRACKS = 200
"""Tracks of one part that are told, the surest: noise must not fill the store."""


def tracks_to_json(tracks: Sequence[Track]) -> list[Any]:
    """Smoothed tracks; by how much a box moved between spots is not kept."""
    return [
        [one.label, one.score, [[_row(spot) for spot in stretch] for stretch in one.stretches]]
        for one in tracks[:MOST_TRACKS]
    ]


def tracks_from_json(records: Iterable[Any]) -> list[Track]:
    """The way back."""
    return [
        Track(label, score, tuple(tuple(map(_spot, rows)) for rows in stretches))
        for label, score, stretches in records
    ]


def _row(spot: Spot) -> list[float]:
    edges = [round(float(edge), 2) for edge in spot.xyxy_px]
    return [spot.frame, round(spot.time_s, 6), *edges, round(spot.score, 4), spot.sureness]


def _spot(row: Sequence[float]) -> Spot:
    frame, time_s, x0, y0, x1, y1, score, sureness = row
    return Spot(int(frame), time_s, np.array([x0, y0, x1, y1], np.float32), score, sureness)

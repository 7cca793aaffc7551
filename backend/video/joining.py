"""Tracks of the parts of a video, joined where the parts overlap: on one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.domain import iou_matrix
from backend.video.tracks import Spot, Track

SAME_IOU = 0.5
"""Overlap on the shared frame from which two tracks of one label are one thing."""


def join(parts: Sequence[Sequence[Track]], shared: Sequence[int]) -> list[Track]:
    """The tracks of the whole video, the surest first.

    parts: tracks of each part, in order of time. shared: number of the frame that each part
    but the last has in common with the next.
    """
    joined = list(parts[0]) if parts else []
    for tracks, frame in zip(parts[1:], shared, strict=True):
        joined = _joined(joined, tracks, frame)
    return sorted(joined, key=lambda track: -track.score)


def _joined(before: Sequence[Track], after: Sequence[Track], frame: int) -> list[Track]:
    ending = {at: spot for at, one in enumerate(before) if (spot := _last(one)).frame == frame}
    starting = {at: spot for at, one in enumerate(after) if (spot := _first(one)).frame == frame}
    pairs = sorted(
        (-overlap, i, j)
        for i, first in ending.items()
        for j, second in starting.items()
        if before[i].label == after[j].label and (overlap := _overlap(first, second)) >= SAME_IOU
    )
    whole = list(before)
    taken: set[int] = set()
    for _, i, j in pairs:
        if j not in taken and whole[i] is before[i]:
            taken.add(j)
            whole[i] = _one(before[i], after[j])
    return whole + [one for j, one in enumerate(after) if j not in taken]


def _one(before: Track, after: Track) -> Track:
    """Two tracks as one; the shared frame's spot is the one that the earlier track came to."""
    *earlier, last = before.stretches
    first, *later = after.stretches
    stretches = (*earlier, (*last, *first[1:]), *later)
    weights = [sum(map(len, one.stretches)) for one in (before, after)]
    score = float(np.average([before.score, after.score], weights=weights))
    return Track(before.label, score, stretches)


def _first(track: Track) -> Spot:
    return track.stretches[0][0]


def _last(track: Track) -> Spot:
    return track.stretches[-1][-1]


def _overlap(first: Spot, second: Spot) -> float:
    return float(iou_matrix(first.xyxy_px[None], second.xyxy_px[None])[0, 0])

"""As few key frames as tell a path within a stated error.

Label Studio moves a box in a straight line from key frame to key frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.video.tracks import Spot


def thin(stretch: Sequence[Spot], least_iou: float) -> tuple[Spot, ...]:
    """The first spot, the last, and those between without which some box would overlap the
    one that is drawn by less than least_iou.

    Source: Ramer 1972, Douglas and Peucker 1973.
    """
    if len(stretch) < 3:
        return tuple(stretch)
    kept = {0, len(stretch) - 1}
    open_parts = [(0, len(stretch) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        ends, inner = (stretch[first], stretch[last]), stretch[first + 1 : last]
        if min(drawn_iou(*ends, one) for one in inner) >= least_iou:
            continue
        # By the corners, as boxes that do not touch are all equally far apart by overlap.
        off_px = [np.abs(between(*ends, one.time_s) - one.xyxy_px).max() for one in inner]
        worst = first + 1 + int(np.argmax(off_px))
        kept.add(worst)
        open_parts += [(first, worst), (worst, last)]
    return tuple(stretch[at] for at in sorted(kept))


def drawn_iou(before: Spot, after: Spot, true: Spot) -> float:
    """Overlap of a box with the one that is drawn for its frame between two key frames."""
    drawn = between(before, after, true.time_s)
    return float(iou_matrix(drawn[None], true.xyxy_px[None])[0, 0])


def between(before: Spot, after: Spot, time_s: float) -> FloatArray:
    """(4,) the box that Label Studio draws at a time between two key frames."""
    share = np.float32((time_s - before.time_s) / (after.time_s - before.time_s))
    return (before.xyxy_px + share * (after.xyxy_px - before.xyxy_px)).astype(np.float32)

"""Boxes over time between seconds inside and Label Studio's sequence of key frames outside.

Label Studio's browser has no idea of a file's own frames: it counts from 1 at the rate of the
labelling configuration (``<Video framerate="25">``, 24 unless told), and moves a box in a
straight line from key frame to key frame, until one that is not enabled, after which it is
hidden until the next. Inside, a key frame has the time at which its picture is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.numbers import finite_number
from backend.labelstudio.percent import xyxy_px_to_percent


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """time_s: from 0, when the frame is shown. xyxy_share: x0 y0 x1 y1 as shares of the frame.

    goes_on: whether the box is to be seen between this key frame and the next.
    """

    time_s: float
    xyxy_share: tuple[float, float, float, float]
    goes_on: bool = True


def frame_at(time_s: float, framerate: float) -> int:
    """Label Studio's number, from 1, of the frame that is shown at a time."""
    return round(time_s * framerate) + 1


def time_of(frame: int, framerate: float) -> float:
    """Seconds at which Label Studio shows the frame of this number."""
    return (frame - 1) / framerate


def sequence_value(
    key_frames: Sequence[KeyFrame], framerate: float, duration_s: float
) -> dict[str, Any] | None:
    """``framesCount``, ``duration`` and ``sequence`` of a region; None where nothing is left.

    key_frames: by ascending time. Of two that fall on one of Label Studio's frames the later
    counts; frames beyond the end and boxes without area are left out.
    """
    count = max(1, round(duration_s * framerate))
    drawn: dict[int, dict[str, Any]] = {}
    for one in key_frames:
        frame = frame_at(one.time_s, framerate)
        percent = xyxy_px_to_percent(one.xyxy_share, (1, 1))
        if percent is None or frame > count:
            continue
        drawn[frame] = {
            "frame": frame,
            "time": frame / framerate,
            "enabled": one.goes_on,
            "rotation": 0,
            **percent,
        }
    if not drawn:
        return None
    return {"framesCount": count, "duration": duration_s, "sequence": list(drawn.values())}


def read_sequence(value: Any, framerate: float) -> list[KeyFrame]:
    """Key frames of a region by ascending time; what cannot be read is left out.

    A rotated box counts as the one that is drawn without the turn: the sequence does not tell
    the frame's proportions.
    """
    sequence = value.get("sequence") if isinstance(value, Mapping) else None
    found: dict[int, KeyFrame] = {}
    for entry in sequence if isinstance(sequence, list) else []:
        one = _key_frame(entry, framerate) if isinstance(entry, Mapping) else None
        if one is not None:
            found[frame_at(one.time_s, framerate)] = one
    return [found[frame] for frame in sorted(found)]


def _key_frame(entry: Mapping[str, Any], framerate: float) -> KeyFrame | None:
    frame, *edges = (
        finite_number(entry.get(key)) for key in ("frame", "x", "y", "width", "height")
    )
    if frame is None or frame < 1 or None in edges:
        return None
    x, y, width, height = (edge / 100 for edge in edges if edge is not None)
    low_high = (min(max(edge, 0.0), 1.0) for edge in (x, y, x + width, y + height))
    x0, y0, x1, y1 = low_high
    if not (x0 < x1 and y0 < y1):
        return None
    goes_on = entry.get("enabled") is not False
    return KeyFrame(time_of(math.floor(frame), framerate), (x0, y0, x1, y1), goes_on)

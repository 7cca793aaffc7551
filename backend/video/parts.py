"""A long video in parts of time, for several workers to share."""

from __future__ import annotations

from dataclasses import dataclass

from backend.video.frames import Clip


@dataclass(frozen=True, slots=True)
class Part:
    """Frames from first to last, both included; last None: to the end of the file.

    Each part begins with the frame with which the one before ends.
    """

    first: int
    last: int | None


def plan_parts(clip: Clip, every: int, most_looks: int) -> list[Part]:
    """Parts of equal length with about most_looks frames that are looked at, one at least.

    every: frames from one that is looked at to the next. A video that does not tell its length
    is one part.
    """
    looks = -(-clip.frames // every)
    count = max(1, -(-looks // most_looks))
    span = every * -(-looks // count)
    return [Part(at * span, (at + 1) * span if at + 1 < count else None) for at in range(count)]

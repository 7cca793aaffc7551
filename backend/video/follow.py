"""A clip, looked at by a way: what is found, as tracks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backend.video.frames import Clip, Frame, read_frames
from backend.video.linking import Linker, LinkRules
from backend.video.smoothing import smooth
from backend.video.tracks import Track
from backend.video.ways import Question, VideoWay

_GREY_FPS = 25.0
"""Frames a second by which boxes are followed at most."""


def find_tracks(
    path: Path,
    clip: Clip,
    way: VideoWay,
    question: Question,
    *,
    looks_fps: float | None = None,
    first: int = 0,
    last: int | None = None,
    rules: LinkRules | None = None,
    on_frame: Callable[[Frame], None] = lambda frame: None,
) -> list[Track]:
    """The tracks of a part of a clip, smoothed, the surest first.

    looks_fps: frames a second that are looked at, None: as the way wants. first, last: of
    the part, both included.
    on_frame: told of each frame that was gone through, which may raise to stop.
    Raises: MediaUnreadable, and what the way raises.
    """
    every = looks_every(clip, looks_fps or way.looks_fps)
    grey_every = max(1, round(clip.fps / _GREY_FPS))
    frames = read_frames(
        path,
        clip,
        lambda number: number >= first and (number % every == 0 or number == last),
        # One before the first: what has moved until then shows by it.
        first=max(0, first - grey_every),
        last=last,
        grey_every=grey_every,
    )
    linker = Linker(rules or LinkRules(), clip.grey_scale)
    for frame, sightings in way.find(frames, clip, question):
        if sightings is None:
            linker.advance(frame)
        else:
            linker.look(frame, sightings)
        on_frame(frame)
    return [
        Track(one.label, one.score, tuple(smooth(stretch) for stretch in one.stretches))
        for one in linker.tracks()
    ]


def looks_every(clip: Clip, looks_fps: float) -> int:
    """Frames from one that is looked at to the next."""
    return max(1, round(clip.fps / looks_fps))

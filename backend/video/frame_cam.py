"""The way of pictures, frame by frame: the image backbone and, where there is one, its head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backend.domain import Picture
from backend.video.frames import Clip, Frame
from backend.video.linking import Sighting
from backend.video.ways import Question, Seen, video_way

_BATCH = 8
"""Frames seen together; those between wait with them, grey."""


@video_way("frame_cam", looks_fps=2.5)
def frame_cam(frames: Iterator[Frame], clip: Clip, question: Question) -> Iterator[Seen]:
    """What ``question.see`` sees on the frames in colour, each by itself."""
    waiting: list[Frame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(one.rgb_u8 is not None for one in waiting) == _BATCH:
            yield from _seen(waiting, clip, question)
            waiting = []
    yield from _seen(waiting, clip, question)


def _seen(frames: Sequence[Frame], clip: Clip, question: Question) -> Iterator[Seen]:
    pictures = [
        Picture(one.rgb_u8, clip.size_hw, frame_name(question.name, one.number))
        for one in frames
        if one.rgb_u8 is not None
    ]
    found = iter(question.see(pictures) if pictures else ())
    for one in frames:
        if one.rgb_u8 is None:
            yield one, None
            continue
        boxes = next(found)
        yield (
            one,
            [
                Sighting(np.asarray(xyxy_px, np.float32), label, float(score))
                for xyxy_px, label, score in zip(
                    boxes.xyxy_px, boxes.label, boxes.score, strict=True
                )
            ],
        )


def frame_name(video: str, number: int) -> str:
    """What names a frame in every cache. video: the content hash of the file."""
    return f"{video}-{number}"

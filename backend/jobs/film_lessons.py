"""Frames of videos to learn from, as many of a video as are wanted in one pass of decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.domain import Picture
from backend.errors import BackendError, LabelStudioError, MediaError, MediaMissing
from backend.jobs.process import Process
from backend.store import keys
from backend.video.frame_cam import frame_name
from backend.video.frames import Clip, read_clip, read_frames


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of a task's video. film: its address. time_s: when the frame is shown."""

    film: str
    time_s: float


def moment_name(moment: Moment) -> str:
    """Tells frames apart where pictures go by their address."""
    return f"{moment.film}#t={moment.time_s:.4f}"


def frames_at(
    process: Process, project_id: str, task_id: int, moments: Sequence[Moment]
) -> Iterator[tuple[Moment, Picture | BackendError]]:
    """The frames of one video, in order of time, or why they cannot be had."""
    left = sorted(moments, key=lambda one: one.time_s)
    number = keys.project_id_of(project_id)
    project = int(number) if number.isdecimal() else None
    error: BackendError = MediaMissing(
        "The video ends before the frame.", "Nothing to do: others are learned from."
    )
    try:
        with process.fetcher.video(left[0].film, task_id, project) as video:
            clip = read_clip(video.path, max_pixels=process.settings.media_pixels)
            wanted = [_frame(one, clip) for one in left]
            frames = read_frames(
                video.path,
                clip,
                set(wanted).__contains__,
                first=wanted[0],
                last=wanted[-1],
                grey_every=wanted[-1] + 1,
            )
            for frame in frames:
                if frame.rgb_u8 is None:
                    continue
                name = frame_name(video.content_hash, frame.number)
                picture = Picture(frame.rgb_u8, clip.size_hw, name)
                while left and _frame(left[0], clip) == frame.number:
                    yield left.pop(0), picture
    except (MediaError, LabelStudioError) as trouble:  # the latter: no token to fetch with
        error = trouble
    for one in left:
        yield one, error


def _frame(moment: Moment, clip: Clip) -> int:
    """Its number in the file, from 0; the browser may count one more than there are."""
    number = round(moment.time_s * clip.fps)
    return min(number, clip.frames - 1) if clip.frames else number

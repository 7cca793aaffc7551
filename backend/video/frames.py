"""The frames of a video file, one after the other: a long video takes no more memory than a
short one.

OpenCV decodes, by FFmpeg. FFmpeg follows playlists and addresses that a file may hold; the
container is looked at first and nothing but the file itself may be opened, so that a task
cannot make a worker call other machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.domain import U8Array
from backend.errors import MediaTooLarge, MediaUnreadable
from backend.media.video_header import HEADER_BYTES, sniff_video

GREY_SIDE_PX = 320
"""Longer side of the grey frames on which boxes are followed."""

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FILES_ALONE = "protocol_whitelist;file"
_WHY = "the file is broken or cut short, or its codec is not one that OpenCV's FFmpeg has"
_REMEDY = (
    "Convert it, for example: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p -movflags +faststart "
    "OUT.mp4"
)


@dataclass(frozen=True, slots=True)
class Clip:
    """What a video file tells of itself. frames: as announced, which may be off; 0: unknown.

    size_hw: as shown, turned upright. fps: of the file.
    """

    size_hw: tuple[int, int]
    fps: float
    frames: int

    @property
    def duration_s(self) -> float:
        """As announced."""
        return self.frames / self.fps

    @property
    def grey_scale(self) -> float:
        """Of the grey frames over the frames themselves."""
        return min(1.0, GREY_SIDE_PX / max(self.size_hw))


@dataclass(frozen=True, slots=True)
class Frame:
    """number: from 0, of the file. time_s: when it is shown. grey_hw: (h, w), small.

    rgb_u8: (H, W, 3), None where it was not wanted.
    """

    number: int
    time_s: float
    grey_hw: U8Array
    rgb_u8: U8Array | None


def read_clip(path: Path, *, max_pixels: int) -> Clip:
    """Size, rate and length; the first frame is decoded to be sure that it can be.

    max_pixels: of one frame. Raises: MediaUnreadable, MediaTooLarge.
    """
    with _opened(path) as capture:
        wide, high = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if wide * high > max_pixels:
            raise MediaTooLarge(
                f"A frame of the video has {wide:.0f} x {high:.0f} pixels.",
                "Make the video smaller, or raise MAX_MEDIA_PIXELS.",
            )
        there, frame = capture.read()
        if not there:
            raise MediaUnreadable(
                f"No frame of the video (codec {_codec(capture)}) can be decoded: {_WHY}.", _REMEDY
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not 0 < fps < 1000:
            raise MediaUnreadable("The video does not tell its frame rate.", _REMEDY)
        frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        return Clip((frame.shape[0], frame.shape[1]), float(fps), frames)


def read_frames(
    path: Path,
    clip: Clip,
    wanted: Callable[[int], bool],
    *,
    first: int = 0,
    last: int | None = None,
    grey_every: int = 1,
) -> Iterator[Frame]:
    """The frames from first to last, both included, that are wanted in colour or as grey.

    wanted: whether a frame is wanted in colour, by number; decoding goes through the others
    all the same. grey_every: of the others, every so manieth is given. Ends where the file
    does, which may be before the announced end. Raises: MediaUnreadable.
    """
    with _opened(path) as capture:
        number = _go_to(capture, first)
        while last is None or number <= last:
            if not capture.grab():
                return
            in_colour = wanted(number)
            if number >= first and (in_colour or (number - first) % grey_every == 0):
                there, bgr = capture.retrieve()
                if not there:
                    return
                time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield _frame(number, time_s, np.asarray(bgr, np.uint8), clip, in_colour)
            number += 1


def _frame(number: int, time_s: float, bgr: U8Array, clip: Clip, in_colour: bool) -> Frame:
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if clip.grey_scale < 1:
        scale = clip.grey_scale
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rgb = np.ascontiguousarray(bgr[..., ::-1]) if in_colour else None
    return Frame(number, time_s, np.asarray(grey, np.uint8), rgb)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    with path.open("rb") as file:
        container = sniff_video(file.read(HEADER_BYTES))
    if container is None:
        raise MediaUnreadable(
            "The file is no video in a container that is read here (MP4, MOV, WebM, Matroska, "
            "AVI, Ogg, MPEG).",
            _REMEDY,
        )
    # OpenCV reads it from the process at each opening.
    os.putenv(_OPTIONS, _FILES_ALONE)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise MediaUnreadable(f"The video ({container}) cannot be opened: {_WHY}.", _REMEDY)
        yield capture
    finally:
        capture.release()


def _go_to(capture: cv2.VideoCapture, first: int) -> int:
    """Near a frame, not behind it: the number of the frame that is read next."""
    if first == 0:
        return 0
    capture.set(cv2.CAP_PROP_POS_FRAMES, first)
    reached = int(capture.get(cv2.CAP_PROP_POS_FRAMES))
    if 0 < reached <= first:
        return reached
    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
    return 0


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> 8 * at & 0xFF) for at in range(4))
    return letters if letters.isprintable() and letters.strip() else "unknown"

"""Boxes through time of annotations and predictions, read: one region a thing.

They are no boxes of a picture, and ``read_regions`` leaves them out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain import UNNAMED
from backend.labelstudio.labelspec import FRAMERATE, Control, LabelSpec
from backend.labelstudio.numbers import finite_number
from backend.labelstudio.sequences import KeyFrame, frame_at, read_sequence

Edges = tuple[float, float, float, float]
"""x0 y0 x1 y1 as shares of the frame."""


@dataclass(frozen=True, slots=True)
class ReadTrack:
    """One thing through a video.

    id, origin: as of ``ReadRegion``. control: name of the control whose label it carries.
    framerate: by which its frames are counted. key_frames: by ascending time, one at least.
    label: its first label, ``UNNAMED`` without one.
    """

    id: str
    control: str
    framerate: float
    key_frames: tuple[KeyFrame, ...]
    label: str
    score: float | None
    origin: str

    @property
    def frames(self) -> list[int]:
        """Label Studio's numbers of its key frames."""
        return [frame_at(one.time_s, self.framerate) for one in self.key_frames]

    def drawn_at(self, frame: int) -> Edges | None:
        """The box that is drawn on a frame, None where none is to be seen."""
        frames = self.frames
        at = bisect_right(frames, frame) - 1
        if at < 0:
            return None
        before = self.key_frames[at]
        if frames[at] == frame:
            return before.xyxy_share
        if not before.goes_on:
            return None
        if at + 1 == len(frames):
            return before.xyxy_share  # the editor draws on until it is told to stop
        after = self.key_frames[at + 1]
        share = (frame - frames[at]) / (frames[at + 1] - frames[at])
        x0, y0, x1, y1 = (
            start + share * (end - start)
            for start, end in zip(before.xyxy_share, after.xyxy_share, strict=True)
        )
        return x0, y0, x1, y1


def read_tracks(result: Any, spec: LabelSpec) -> list[ReadTrack]:
    """Tracks of a Label Studio ``result``, in its order; what has no key frame is left out."""
    films = [control for control in spec.controls if control.of_video]
    found = []
    for region in result if isinstance(result, list) else []:
        if not isinstance(region, Mapping) or region.get("type") != "videorectangle":
            continue
        fitting = [one for one in films if one.geometry_name == region.get("from_name")]
        track = _track(region, fitting) if fitting else None
        if track is not None:
            found.append(track)
    return found


def _track(region: Mapping[str, Any], fitting: Sequence[Control]) -> ReadTrack | None:
    """fitting: the controls whose label it may carry; the first where none has it."""
    value, score = region.get("value"), finite_number(region.get("score"))
    framerate = fitting[0].framerate or FRAMERATE
    key_frames = read_sequence(value, framerate)
    if not key_frames or not isinstance(value, Mapping):
        return None
    labels = value.get("labels")
    named = isinstance(labels, list) and labels and isinstance(labels[0], str)
    label = labels[0] if isinstance(labels, list) and named else UNNAMED
    having = (one for one in fitting if label in {name.value for name in one.labels})
    control = next(having, fitting[0])
    return ReadTrack(
        id=str(region.get("id") or ""),
        control=control.name,
        framerate=framerate,
        key_frames=tuple(key_frames),
        label=label,
        score=None if score is None else min(max(score, 0.0), 1.0),
        origin=str(region.get("origin") or ""),
    )

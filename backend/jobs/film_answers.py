"""Tracks as they are found become tracks as Label Studio draws them."""

from __future__ import annotations

from collections.abc import Sequence

from backend.jobs.answers import detect_options
from backend.labelstudio.labelspec import Control
from backend.labelstudio.prediction import FoundTrack, FoundTracks
from backend.labelstudio.sequences import KeyFrame
from backend.settings import Settings
from backend.video.frames import Clip
from backend.video.key_frames import thin
from backend.video.tracks import Spot, Track


def as_found(
    tracks: Sequence[Track],
    clip: Clip,
    end: int,
    every: int,
    control: Control,
    settings: Settings,
) -> FoundTracks:
    """What a control gets: its surest tracks, by as few key frames as tell their paths.

    tracks: the surest first. end: frames that could be read; the file may have announced
    others. every: frames from one that was looked at to the next.
    """
    options = detect_options(control, settings)
    kept = [one for one in tracks if one.score >= options.score_threshold][: options.max_boxes]
    found = tuple(
        FoundTrack(
            one.label,
            one.score,
            tuple(
                key_frame
                for stretch in one.stretches
                for key_frame in _key_frames(
                    thin(stretch, settings.video_key_iou),
                    clip.size_hw,
                    goes_on=stretch[-1].frame + every >= end,
                )
            ),
        )
        for one in kept
    )
    return FoundTracks(control.name, found, clip.duration_s or end / clip.fps)


def _key_frames(
    spots: Sequence[Spot], size_hw: tuple[int, int], *, goes_on: bool
) -> list[KeyFrame]:
    """goes_on: whether the thing is to be seen after the last spot, for nobody looked there."""
    height, width = size_hw
    return [
        KeyFrame(
            spot.time_s,
            (
                float(spot.xyxy_px[0]) / width,
                float(spot.xyxy_px[1]) / height,
                float(spot.xyxy_px[2]) / width,
                float(spot.xyxy_px[3]) / height,
            ),
            goes_on or at + 1 < len(spots),
        )
        for at, spot in enumerate(spots)
    ]

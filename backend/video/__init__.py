"""Things through time: frames, ways of looking at them, linking, key frames."""

from backend.video import frame_cam, motion, video_cam
from backend.video.ways import WAYS

__all__ = ["WAYS", "frame_cam", "motion", "video_cam"]

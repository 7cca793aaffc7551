"""The way of what moves: optical flow less that of the camera, when no class is known.

Source of the flow: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search". The
camera's own movement is the similarity that most of the picture follows (RANSAC; Fischler and
Bolles 1981); what is left is dynamic saliency.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from backend.domain import UNNAMED, FloatArray, Picture, U8Array
from backend.video.frames import Clip, Frame
from backend.video.linking import Sighting
from backend.video.ways import Question, Seen, video_way
from backend.vision import boxes

_STEP = 8
"""Pixels from one to the next of those that tell how the camera moves."""

_LEAST_PX = 0.5
"""Movement, in pixels of the grey frame, below which all is noise."""

_SMOOTH_PX = 2.0
_EDGE_PX = 4.0
_INLIER_PX = 0.5


@video_way("motion", looks_fps=5.0)
def motion(frames: Iterator[Frame], clip: Clip, question: Question) -> Iterator[Seen]:
    """Boxes round what moved since the frame before, on each frame in colour.

    They bear the only label there is, or none. The first frame shows no movement.
    """
    label = question.labels[0].value if len(question.labels) == 1 else UNNAMED
    threshold = boxes.get("threshold")
    before: U8Array | None = None
    for frame in frames:
        if frame.rgb_u8 is None:
            before = frame.grey_hw
            yield frame, None
            continue
        found: list[Sighting] = []
        if before is not None:
            moved = movement(before, frame.grey_hw)
            picture = Picture(frame.rgb_u8, clip.size_hw, "")
            (drawn,) = threshold([moved], [picture], {"parts": "10"})
            found = [
                Sighting(xyxy_px, label, float(score))
                for xyxy_px, score in zip(drawn.xyxy_px, drawn.score, strict=True)
            ]
        before = frame.grey_hw
        yield frame, found


def movement(before_hw: U8Array, after_hw: U8Array) -> FloatArray:
    """(h, w) in 0..1: how fast each place moves against most of the picture; zeros where
    nothing does.
    """
    dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # From the later frame to the earlier: the values lie where things are now.
    flow = dense.calc(after_hw, before_hw, np.zeros((*after_hw.shape, 2), np.float32))
    height, width = after_hw.shape
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    start = places[::_STEP, ::_STEP].reshape(-1, 2)
    there = start + flow[::_STEP, ::_STEP].reshape(-1, 2)
    # None where no two places agree, which OpenCV's types do not tell.
    found: Any = cv2.estimateAffinePartial2D(
        start, there, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX
    )[0]
    camera = np.eye(2, 3) if found is None else found
    expected = places @ camera[:, :2].T + camera[:, 2]
    speed = np.linalg.norm(places + flow - expected, axis=2).astype(np.float32)
    # What the camera has only now brought into the picture has no movement to tell.
    known = (expected >= _EDGE_PX) & (expected <= np.array([width, height]) - 1 - _EDGE_PX)
    speed[~known.all(2)] = 0
    speed = cv2.GaussianBlur(speed, (0, 0), _SMOOTH_PX)
    fastest = float(speed.max())
    if fastest < _LEAST_PX:
        return np.zeros((height, width), np.float32)
    return np.asarray(speed / fastest, np.float32)

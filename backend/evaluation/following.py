"""How well a thing is followed through a clip of which a person has labelled the beginning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from backend.domain import Boxes, FloatArray, Picture, iou_matrix
from backend.evaluation.figures import Figures
from backend.evaluation.filmed import Filmed
from backend.jobs.learner import Learner, TrainedHead
from backend.learning.examples import Example
from backend.video.classifiers import VideoClassifier
from backend.video.follow import find_tracks
from backend.video.frame_cam import frame_name
from backend.video.frames import Clip, Frame, read_clip, read_frames
from backend.video.key_frames import between, thin
from backend.video.tracks import Spot, Track
from backend.video.ways import WAYS, Question
from backend.vision.backbones import Backbone
from backend.vision.detect import LabelQuery

BEGINNING = 100
"""Frames over which the accepted key frames are spread; those after them are predicted."""

_MOST_PIXELS = 100_000_000

Say = Callable[[str], None]


def measure_following(
    filmed: Filmed,
    backbone: Backbone,
    learner: Learner,
    *,
    accepted: int,
    way: str,
    classifier: Callable[[], VideoClassifier],
    looks_fps: float | None,
    least_iou: float,
    say: Say,
) -> Figures:
    """Overlap of what Label Studio would draw with what is true, on each frame where the thing
    is to be seen; a frame without a box counts 0.

    accepted: key frames, spread evenly over the beginning. way: by name. classifier: for the
    way that asks one. looks_fps: frames a second that are looked at, None: as the way wants.
    least_iou: to which tracks are thinned. say: told what is done next.
    Raises: UnknownName, MediaError.
    """
    find = WAYS.get(way)
    clip = read_clip(filmed.path, max_pixels=_MOST_PIXELS)
    say("learning from the accepted key frames")
    head = _learned(filmed, clip, backbone, learner, accepted)

    def see(pictures: Sequence[Picture]) -> Sequence[Boxes]:
        features = learner.features_of(backbone, pictures, small=head.small, mirrored=False)
        return learner.predict(head, features)

    labels = (LabelQuery(filmed.label, (filmed.label,)),)
    say("following")
    started_s = time.perf_counter()
    tracks = find_tracks(
        filmed.path,
        clip,
        find,
        Question(labels, see, filmed.name, classifier),
        looks_fps=looks_fps,
        first=BEGINNING,
    )
    followed_s = time.perf_counter() - started_s
    say("decoding alone")
    started_s = time.perf_counter()
    times_s = {one.number: one.time_s for one in _decoded(filmed, clip)}
    decoded_s = time.perf_counter() - started_s

    thinned = [[thin(stretch, least_iou) for stretch in one.stretches] for one in tracks]
    overlaps, false = _overlaps(filmed, tracks, thinned, times_s)
    keys = sum(len(stretch) for one in thinned for stretch in one)
    values: dict[str, float | None] = {
        "mean_iou": float(np.mean(overlaps)),
        "share_50": float(np.mean(np.array(overlaps) >= 0.5)),
        "false_share": false,
        "fps": len(times_s) / followed_s,
        "decode_fps": len(times_s) / decoded_s,
        "keyframes_per_100": 100 * keys / len(times_s),
    }
    about = {
        "data": filmed.name,
        "way": way,
        "backbone": backbone.identity.name,
        "accepted": accepted,
        "frames": len(times_s),
        "judged": len(overlaps),
        "tracks": len(tracks),
        "looks_fps": looks_fps or find.looks_fps,
    }
    heading = f"{filmed.name}: {accepted} accepted key frames, {len(times_s)} frames after them"
    return Figures(values, about, heading)


def _learned(
    filmed: Filmed, clip: Clip, backbone: Backbone, learner: Learner, accepted: int
) -> TrainedHead:
    """A head that knows the beginning: the key frames on which the thing is to be seen."""
    spread = np.linspace(0, BEGINNING - 1, accepted).round().astype(int)
    keys = sorted({int(at) for at in spread} & set(filmed.visible))
    wanted = set(keys)
    frames = read_frames(
        filmed.path, clip, wanted.__contains__, last=BEGINNING - 1, grey_every=BEGINNING
    )
    pictures = [
        Picture(one.rgb_u8, clip.size_hw, frame_name(filmed.name, one.number))
        for one in frames
        if one.rgb_u8 is not None
    ]
    examples = [_example(filmed, clip, at) for at in keys]
    small = learner.wants_small(examples)
    upright, mirrored = (
        learner.features_of(backbone, pictures, small=small, mirrored=side)
        for side in (False, True)
    )
    pairs = {
        one.picture: pair
        for one, pair in zip(examples, zip(upright, mirrored, strict=True), strict=True)
    }
    return learner.fit(examples, pairs, [filmed.label], [], backbone.identity, lambda *_: None).head


def _example(filmed: Filmed, clip: Clip, frame: int) -> Example:
    boxes = Boxes(
        filmed.xyxy_px[frame : frame + 1],
        np.ones(1, np.float32),
        (filmed.label,),
        clip.size_hw,
    )
    return Example(frame_name(filmed.name, frame), boxes, np.zeros((0, 4), np.float32))


def _decoded(filmed: Filmed, clip: Clip) -> list[Frame]:
    """Every frame from the end of the beginning on, grey."""
    return list(read_frames(filmed.path, clip, lambda number: False, first=BEGINNING))


def _overlaps(
    filmed: Filmed,
    tracks: Sequence[Track],
    thinned: Sequence[Sequence[Sequence[Spot]]],
    times_s: Mapping[int, float],
) -> tuple[list[float], float]:
    """Of the surest track on each frame where the thing is to be seen; and the share of the
    other frames on which some track is drawn all the same.
    """
    overlaps, false = [], []
    for frame, time_s in times_s.items():
        if frame >= len(filmed.xyxy_px):
            break
        drawn = [
            (track.score, box)
            for track, stretches in zip(tracks, thinned, strict=True)
            if (box := drawn_at(stretches, time_s)) is not None
        ]
        true = filmed.xyxy_px[frame]
        if np.isnan(true[0]):
            false.append(bool(drawn))
            continue
        best = max(drawn, key=lambda one: one[0], default=None)
        overlaps.append(0.0 if best is None else float(iou_matrix(best[1][None], true[None])[0, 0]))
    return overlaps, float(np.mean(false)) if false else 0.0


def drawn_at(stretches: Sequence[Sequence[Spot]], time_s: float) -> FloatArray | None:
    """(4,) the box that is drawn at a time between key frames, None where none is."""
    for stretch in stretches:
        for before, after in pairwise(stretch):
            if before.time_s <= time_s <= after.time_s:
                return between(before, after, time_s)
        if len(stretch) == 1 and stretch[0].time_s == time_s:
            return stretch[0].xyxy_px
    return None

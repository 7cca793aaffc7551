"""The way of what happens: class activation cubes of a video classifier.

Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", with the
cells in time as well: the weights of a class are the same for every moment and place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from backend.domain import UNNAMED, FloatArray, Picture, U8Array
from backend.video.classifiers import CLIP_FRAMES, VideoClassifier
from backend.video.frames import Clip, Frame
from backend.video.linking import Sighting
from backend.video.ways import Question, Seen, video_way
from backend.vision import boxes
from backend.vision.classes import normalise
from backend.vision.detect import LabelQuery
from backend.vision.saliency.stretch import stretch

_LEAST_PROBABILITY = 0.05
"""Of a class that a label names, from which it is believed to happen."""


@dataclass(frozen=True, slots=True)
class Happening:
    """label: its value, UNNAMED where no label names the class. score: its probability.

    maps: (L, h, w) float32 in 0..1, one for each frame, stretched together, so that a moment
    without it is dark.
    """

    label: str
    score: float
    maps: FloatArray


@video_way("video_cam", looks_fps=12.5)
def video_cam(frames: Iterator[Frame], clip: Clip, question: Question) -> Iterator[Seen]:
    """Boxes round what lies above the threshold of each frame's part of the cube.

    Frames in colour are seen by sixteen; the last ones, if fewer, with the last repeated.
    """
    classifier = question.classifier()
    waiting: list[Frame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(one.rgb_u8 is not None for one in waiting) == CLIP_FRAMES:
            yield from _seen(waiting, clip, question, classifier)
            waiting = []
    yield from _seen(waiting, clip, question, classifier)


def happenings(
    classifier: VideoClassifier, frames_u8: Sequence[U8Array], labels: Sequence[LabelQuery]
) -> list[Happening]:
    """What happens on up to sixteen frames (H, W, 3) in a row.

    Each label that names a class of some probability; where none of the labels names any,
    the likeliest class, under the only label or without a name.
    """
    side_px = classifier.size_px
    squares = [
        cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_AREA) for one in frames_u8
    ]
    squares += [squares[-1]] * (CLIP_FRAMES - len(squares))
    cells = classifier.cells(torch.from_numpy(np.stack(squares)[None]))
    probability = torch.softmax(classifier.scores(cells), 1)[0]
    named = {
        label.value: classifier.names.index(name)
        for label in labels
        for name in map(normalise, label.names)
        if name in classifier.names
    }
    if not named:
        alone = labels[0].value if len(labels) == 1 else UNNAMED
        named = {alone: int(probability.argmax())}
    else:
        named = {k: at for k, at in named.items() if float(probability[at]) >= _LEAST_PROBABILITY}
    found = []
    for label, at in named.items():
        cube = F.interpolate(
            classifier.cube(cells, at)[:, None],
            (CLIP_FRAMES, *cells.shape[-2:]),
            mode="trilinear",
            align_corners=False,
        )[:, 0]
        together = stretch(cube.flatten(2)).view(cube.shape)[0]
        maps = together[: len(frames_u8)].numpy().astype(np.float32)
        found.append(Happening(label, float(probability[at]), maps))
    return found


def _seen(
    frames: Sequence[Frame], clip: Clip, question: Question, classifier: VideoClassifier
) -> Iterator[Seen]:
    colour = [one.rgb_u8 for one in frames if one.rgb_u8 is not None]
    found = happenings(classifier, colour, question.labels) if colour else []
    threshold = boxes.get("threshold")
    at = 0
    for one in frames:
        if one.rgb_u8 is None:
            yield one, None
            continue
        picture = Picture(one.rgb_u8, clip.size_hw, "")
        sightings = []
        for happening in found:
            (drawn,) = threshold([happening.maps[at]], [picture], {})
            sightings += [
                Sighting(xyxy_px, happening.label, float(np.sqrt(score * happening.score)))
                for xyxy_px, score in zip(drawn.xyxy_px, drawn.score, strict=True)
            ]
        at += 1
        yield one, sightings

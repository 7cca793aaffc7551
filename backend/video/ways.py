"""Ways of finding things on the frames of a video, by name.

A way is given the frames in their order and gives them back in their order, each with what
it saw there, or with None where it did not look. It keeps a few frames at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.domain import Boxes, Picture
from backend.video.classifiers import VideoClassifier
from backend.video.frames import Clip, Frame
from backend.video.linking import Sighting
from backend.vision.detect import LabelQuery
from backend.vision.registry import Registry

Seen = tuple[Frame, Sequence[Sighting] | None]
See = Callable[[Sequence[Picture]], Sequence[Boxes]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for in a clip.

    labels: of the control. see: the named boxes of pictures, best first, as on a picture of a
    task. name: of the video, for what is kept of its frames. classifier: the network that
    names what happens in a clip, loaded when it is first asked for.
    """

    labels: tuple[LabelQuery, ...]
    see: See
    name: str
    classifier: Callable[[], VideoClassifier]


Find = Callable[[Iterator[Frame], Clip, Question], Iterator[Seen]]


@dataclass(frozen=True, slots=True)
class VideoWay:
    """find: the way itself. looks_fps: frames a second it wants to look at."""

    find: Find
    looks_fps: float


WAYS: Registry[VideoWay] = Registry("video way")


def video_way(name: str, *, looks_fps: float) -> Callable[[Find], Find]:
    """Register a way."""

    def add(find: Find) -> Find:
        WAYS.add(name, VideoWay(find, looks_fps))
        return find

    return add

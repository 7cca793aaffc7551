"""Ways of finding things on the frames of a video, by name.

A way is given the frames in their order and gives them back in their order, each with what
it saw there, or with None where it did not look. It keeps a few frames at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.domain import Boxes, Picture
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
    task. name: of the video, for what is kept of its frames.
    """

    labels: tuple[LabelQuery, ...]
    see: See
    name: str


VideoWay = Callable[[Iterator[Frame], Clip, Question], Iterator[Seen]]

WAYS: Registry[VideoWay] = Registry("video way")

"""How the frames of a video are looked at in a job: by which way, with which head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from backend.domain import Boxes, Picture
from backend.jobs.addresses import Look
from backend.jobs.answers import LearnedAnswers, answer_looks, learned_answers, needs_look
from backend.jobs.learner import TrainedHead
from backend.jobs.process import Process
from backend.jobs.sight import Eyes, objects_wanted
from backend.labelstudio.prediction import FoundBoxes
from backend.video import WAYS
from backend.video.classifiers import VideoClassifier, load_video_classifier
from backend.video.ways import Question, VideoWay
from backend.vision.detect import LabelQuery, prepare

_LEARNED_OR_NAMED, _NOTHING_KNOWN = "frame_cam", "motion"


class Watcher:
    """Looks at the frames of one video for one control. head: None for the zero-shot way."""

    def __init__(self, process: Process, film: Look, head: TrainedHead | None) -> None:
        self._process = process
        self._film = film
        self._head = head
        wanted = objects_wanted([film.control])
        self._eyes = Eyes(process.backbone, process.learner, wanted)

    @property
    def way(self) -> VideoWay:
        """The control's own, else what moves where no label is known, else frame by frame."""
        asked = self._film.control.options.video_way
        return WAYS.get(asked or (_LEARNED_OR_NAMED if self._knows_a_label() else _NOTHING_KNOWN))

    def question(self, name: str) -> Question:
        """What is looked for in the video of this name (its content hash)."""
        settings = self._process.settings
        return Question(
            tuple(LabelQuery(label.value, label.names) for label in self._film.labels),
            self._see,
            name,
            partial(_classifier, settings.video_classifier, settings.video_weights),
        )

    def _knows_a_label(self) -> bool:
        learned = frozenset(self._head.labels) if self._head is not None else frozenset()
        matcher = self._process.backbone.matcher
        return any(
            label.value in learned or bool(matcher.match(label.names))
            for label in self._film.labels
        )

    def _see(self, pictures: Sequence[Picture]) -> Sequence[Boxes]:
        """What a picture of a task gets: head and zero-shot way joined."""
        found: list[Boxes] = []
        self._process.room.use_all(pictures, lambda part: found.extend(self._seen(part)))
        return found

    def _seen(self, pictures: Sequence[Picture]) -> list[Boxes]:
        process, head = self._process, self._head
        features: list[Any] | None = None
        learned: LearnedAnswers | None = None
        if head is not None:
            features = process.learner.features_of(
                process.backbone, pictures, small=head.small, mirrored=False
            )
            learned = learned_answers(process.learner, head, features)
        asked = [(self._film, at) for at in range(len(pictures))]
        sight = None
        if needs_look(asked, learned):
            squares = np.stack([prepare(one, process.backbone.size_px) for one in pictures])
            sight = self._eyes.look(pictures, squares, features)
        found = answer_looks(sight, pictures, asked, process.settings, learned)
        return [one.boxes for one in found if isinstance(one, FoundBoxes)]


@lru_cache(maxsize=1)
def _classifier(name: str, weights: Path | None) -> VideoClassifier:
    return load_video_classifier(name, weights)

"""How the way without a head does on accepted pictures, each judged once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backend.domain import Picture, concat_boxes, concat_points
from backend.jobs.answers import answer_looks
from backend.jobs.lessons import Lesson, example_of
from backend.jobs.process import Process
from backend.jobs.sight import Eyes, objects_wanted
from backend.labelstudio.labelspec import LabelSpec
from backend.labelstudio.prediction import FoundBoxes, FoundChoices, FoundPoints
from backend.learning.promote import Counts, judge_example, judge_points
from backend.store import keys
from backend.vision.detect import prepare

_KEEP_S = 30 * 24 * 3600


class ZeroShotCounts:
    """Counts of a project's zero-shot version, kept from one training to the next."""

    def __init__(self, process: Process, project_id: str, version: str, spec: LabelSpec) -> None:
        self._process = process
        wanted = objects_wanted(spec.active)
        self._eyes = Eyes(process.backbone, process.learner, wanted)
        self._key = keys.judged(project_id, version)

    def known(self, digests: Mapping[str, str]) -> dict[str, Counts]:
        """Counts by picture, where it was judged by what is accepted now (its digest)."""
        pictures = list(digests)
        if not pictures:
            return {}
        names = [f"{picture}:{digests[picture]}" for picture in pictures]
        found: Any = self._process.connection.hmget(self._key, names)
        return {
            picture: Counts.from_row(json.loads(value))
            for picture, value in zip(pictures, found, strict=True)
            if value is not None
        }

    def judge(self, seen: Sequence[tuple[Lesson, Picture]]) -> None:
        """Predict fetched pictures without a head, and keep how that went. Raises: OutOfMemory."""
        self._process.room.use_all(seen, self._judge)

    def _judge(self, seen: Sequence[tuple[Lesson, Picture]]) -> None:
        mapping: dict[Any, Any] = {}
        for (lesson, picture), counts in zip(seen, self._counts(seen), strict=True):
            mapping[f"{picture.content_hash}:{lesson.digest}"] = json.dumps(counts.to_row())
        with self._process.connection.pipeline() as pipe:
            pipe.hset(self._key, mapping=mapping)
            pipe.expire(self._key, _KEEP_S)
            pipe.execute()

    def _counts(self, seen: Sequence[tuple[Lesson, Picture]]) -> Iterable[Counts]:
        process = self._process
        pictures = [picture for _, picture in seen]
        squares = [prepare(picture, process.backbone.size_px) for picture in pictures]
        sight = self._eyes.look(pictures, np.stack(squares))
        asked = [(one, at) for at, (lesson, _) in enumerate(seen) for one in lesson.looks]
        found = answer_looks(sight, pictures, asked, process.settings)
        for at, (lesson, picture) in enumerate(seen):
            boxes = [
                answer.boxes
                for (_, place), answer in zip(asked, found, strict=True)
                if place == at and isinstance(answer, FoundBoxes)
            ]
            chosen = {
                answer.control: answer.choices
                for (_, place), answer in zip(asked, found, strict=True)
                if place == at and isinstance(answer, FoundChoices)
            }
            example = example_of(lesson, picture.content_hash, picture.size_hw)
            points = [
                answer.points
                for (_, place), answer in zip(asked, found, strict=True)
                if place == at and isinstance(answer, FoundPoints)
            ]
            # Of a label that names no class it says, too, that there is none.
            parts = {
                label.value for one in lesson.looks if one.control.of_points for label in one.labels
            }
            counts = judge_example(concat_boxes(boxes, picture.size_hw), chosen, example)
            told = concat_points(points, picture.size_hw)
            yield judge_points(counts, told, example, sorted(parts))

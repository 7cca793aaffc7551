"""What a training looks at: accepted pictures, fetched where their features are not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import structlog

from backend.domain import BoolArray, Boxes, FloatArray, Picture, clip_xyxy_px
from backend.errors import BackendError, JobError, MediaError
from backend.jobs.addresses import Look, films_of, looks_of
from backend.jobs.ahead import Ahead
from backend.jobs.fetching import fetch_picture
from backend.jobs.film_lessons import Moment, frames_at, moment_name
from backend.jobs.learner import FeaturePair, PairsAsked
from backend.jobs.process import Process
from backend.labelstudio.labelspec import FRAMERATE, LabelSpec
from backend.labelstudio.regions import ReadRegion, read_regions
from backend.labelstudio.sequences import time_of
from backend.labelstudio.tracks import read_tracks
from backend.learning.accepted import AcceptedTask, accepted_digest
from backend.learning.choices import Question
from backend.learning.examples import Example
from backend.learning.ledger import Entry
from backend.learning.project_head import Asked
from backend.learning.regression import Measure
from backend.vision.outlines import filled

log = structlog.get_logger(__name__)

_BATCHES_AHEAD = 2
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Lesson:
    """One accepted picture of a task, or one frame of its video.

    address: of the picture, or its name where it is a frame. moment: which frame it is.
    looks: the drawing controls that show it, and the answered controls of the whole
    picture. digest: of what is accepted on it. choices, numbers: accepted answers by control.
    """

    task_id: int
    address: str
    looks: tuple[Look, ...]
    boxes: tuple[ReadRegion, ...]
    rejected: tuple[ReadRegion, ...]
    digest: str
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    moment: Moment | None = None

    @property
    def drawn_on(self) -> bool:
        """Whether boxes were asked for, so that none means that nothing is there."""
        return any(look.control.draws and not look.control.of_points for look in self.looks)

    @property
    def pointed_on(self) -> bool:
        """Whether key points were asked for."""
        return any(look.control.of_points for look in self.looks)


def lessons_of(tasks: Iterable[AcceptedTask], spec: LabelSpec) -> list[Lesson]:
    """Every picture on which boxes or answers were accepted, or a person found no box.

    Left out are tasks of which something cannot be read, and those without an address. One
    answer to a list of several pictures teaches nothing: it may have been any of them.
    """
    lessons: list[Lesson] = []
    for task in tasks:
        if not task.legible:
            log.info("task_not_learned", task=task.task_id, reason="something is illegible")
            continue
        try:
            looks, films = looks_of(spec, task.data), films_of(spec, task.data)
        except MediaError as error:
            log.info("task_not_learned", task=task.task_id, reason=error.what)
            continue
        lessons += _film_lessons(task, films)
        for address in dict.fromkeys(look.address for look in looks):
            choices = {
                look.control.name: taken
                for look in looks
                if look.address == address and (taken := _taken(task, look, looks))
            }
            numbers = {
                look.control.name: task.numbers[look.control.name]
                for look in looks
                if look.address == address and look.control.name in task.numbers
            }
            seen = tuple(
                look
                for look in looks
                if look.address == address
                and (look.control.draws or look.control.name in {*choices, *numbers})
            )
            if not seen:
                continue
            places = {(look.control.name, look.item_index or 0) for look in seen}
            boxes = _at(task.boxes, places)
            rejected = _at(task.rejected, places)
            lessons.append(
                Lesson(
                    task.task_id,
                    address,
                    seen,
                    boxes,
                    rejected,
                    accepted_digest(boxes, choices, numbers),
                    choices,
                    numbers,
                )
            )
    return lessons


def _film_lessons(task: AcceptedTask, films: Sequence[Look]) -> Iterator[Lesson]:
    """One a frame that somebody set; in between boxes are drawn by nobody."""
    shown = {(one.address, one.control.framerate or FRAMERATE): None for one in films}
    for address, framerate in shown:
        looks = tuple(
            one
            for one in films
            if (one.address, one.control.framerate or FRAMERATE) == (address, framerate)
        )
        names = {one.control.name for one in looks}
        own = [one for one in (*task.boxes, *task.rejected) if one.control in names]
        for frame in sorted({one.item_index for one in own}):
            places = {(name, frame) for name in names}
            boxes, rejected = _at(task.boxes, places), _at(task.rejected, places)
            moment = Moment(address, time_of(frame, framerate))
            digest = accepted_digest(boxes, {})
            yield Lesson(
                task.task_id, moment_name(moment), looks, boxes, rejected, digest, moment=moment
            )


def example_of(lesson: Lesson, picture: str, size_hw: tuple[int, int]) -> Example:
    """The lesson on its picture of size_hw; boxes drawn at another size are scaled to it."""
    drawn = [one for one in lesson.boxes if not one.is_point]
    return Example(
        picture=picture,
        boxes=Boxes(
            _xyxy_px(drawn, size_hw),
            np.ones(len(drawn), np.float32),
            tuple(box.label for box in drawn),
            size_hw,
        ),
        rejected_xyxy_px=_xyxy_px([one for one in lesson.rejected if not one.is_point], size_hw),
        choices=lesson.choices,
        drawn_on=lesson.drawn_on,
        numbers=lesson.numbers,
        masks_hw=_masks_hw(drawn),
        points_px=_points_px(lesson.boxes, size_hw),
        rejected_points_px=_points_px(lesson.rejected, size_hw),
        pointed_on=lesson.pointed_on,
    )


def drawn_examples(lessons: Iterable[Lesson]) -> list[Example]:
    """Lessons with boxes, at the size they were drawn at: known before a picture is."""
    return [
        example_of(lesson, lesson.address, lesson.boxes[0].size_hw)
        for lesson in lessons
        if lesson.boxes
    ]


def asked_examples(lessons: Iterable[Lesson]) -> list[Example]:
    """The answers of lessons, known before a picture is; each picture by its address."""
    return [
        Example(
            lesson.address,
            Boxes.empty((1, 1)),
            np.zeros((0, 4), np.float32),
            lesson.choices,
            lesson.drawn_on,
            lesson.numbers,
        )
        for lesson in lessons
        if lesson.choices or lesson.numbers
    ]


class Pictures:
    """The pictures of lessons with their features. left_out: why some are not had, by code.

    features: by content hash, read from the cache when asked for: those of a thousand
    pictures take gigabytes.
    """

    def __init__(self, process: Process, project_id: str, *, small: bool) -> None:
        self._process = process
        self._project_id = project_id
        self._small = small
        self.hash_of: dict[str, str] = {}
        self._seen: dict[str, tuple[Lesson, tuple[int, int]]] = {}
        self.features = PairsAsked(self._seen, self._pair_of)
        self.left_out: dict[str, int] = {}

    def cached(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """Take from the cache what it has; the lessons whose picture has to be fetched."""
        first = _by_address(lessons)
        known = self._process.ledger.store.hashes(self._project_id, list(first))
        for address, content_hash in known.items():
            pair = self._cached(content_hash)
            if pair is not None:
                self.hash_of[address] = content_hash
                self._seen[content_hash] = (first[address], pair[0].size_hw)
        return [lesson for lesson in lessons if lesson.address not in self.hash_of]

    def fetched(
        self, lessons: Sequence[Lesson], *, on_batch: Callable[[int], None]
    ) -> Iterator[list[tuple[Lesson, Picture]]]:
        """Fetch the pictures and take their features, batch by batch.

        on_batch: told before each batch how many pictures are done. One that cannot be had
        is left out.
        """
        process, size = self._process, self._process.settings.batch_pictures
        every = _by_address(lessons).values()
        wanted = [lesson for lesson in every if lesson.moment is None]
        done = 0
        filmed = [lesson for lesson in every if lesson.moment is not None]
        for frames in self._filmed(filmed, size):
            on_batch(done)
            done += len(frames)
            yield self._taken_in(frames)
        with Ahead(process.pool, self._fetch, wanted, _BATCHES_AHEAD * size) as ahead:
            while batch := ahead.take(size):
                on_batch(done)
                done += len(batch)
                yield self._taken_in(batch)

    def examples(self, lessons: Iterable[Lesson]) -> dict[str, tuple[Lesson, Example]]:
        """Lesson and example by content hash; of several tasks with one picture the last."""
        found = {}
        for lesson in lessons:
            content_hash = self.hash_of.get(lesson.address)
            if content_hash is not None:
                _, size_hw = self._seen[content_hash]
                found[content_hash] = (lesson, example_of(lesson, content_hash, size_hw))
        return found

    def _taken_in(
        self, batch: Sequence[tuple[Lesson, Picture | BackendError]]
    ) -> list[tuple[Lesson, Picture]]:
        ready = [(lesson, got) for lesson, got in batch if isinstance(got, Picture)]
        for lesson, got in batch:
            if isinstance(got, BackendError):
                self._leave_out(lesson, got)
        self._extract(ready)
        return ready

    def _filmed(
        self, lessons: Sequence[Lesson], size: int
    ) -> Iterator[list[tuple[Lesson, Picture | BackendError]]]:
        """Frames in batches, each film decoded once."""
        by_film: dict[tuple[int, str], dict[Moment, Lesson]] = {}
        for lesson in lessons:
            if lesson.moment is not None:
                film = by_film.setdefault((lesson.task_id, lesson.moment.film), {})
                film[lesson.moment] = lesson
        for (task_id, _), lesson_at in by_film.items():
            found = frames_at(self._process, self._project_id, task_id, list(lesson_at))
            while batch := list(islice(found, size)):
                yield [(lesson_at[moment], got) for moment, got in batch]

    def _fetch(self, lesson: Lesson) -> Picture | BackendError:
        process = self._process
        if lesson.moment is not None:
            ((_, frame),) = frames_at(process, self._project_id, lesson.task_id, [lesson.moment])
            return frame
        side_px = process.learner.decode_side_px(process.backbone, self._small)
        return fetch_picture(process, self._project_id, lesson.address, lesson.task_id, side_px)

    def _extract(self, ready: Sequence[tuple[Lesson, Picture]]) -> None:
        upright, _ = self._described([picture for _, picture in ready])
        hash_of = {lesson.address: picture.content_hash for lesson, picture in ready}
        self._process.ledger.store.remember_hashes(self._project_id, hash_of)
        self.hash_of |= hash_of
        for (lesson, picture), features in zip(ready, upright, strict=True):
            self._seen[picture.content_hash] = (lesson, features.size_hw)

    def _described(self, pictures: Sequence[Picture]) -> tuple[list[Any], list[Any]]:
        """Their features upright and mirrored, from the cache or into it."""
        upright: list[Any] = []
        mirrored: list[Any] = []

        def describe(part: Sequence[Picture]) -> None:
            both = [self._features(part, mirrored=turned) for turned in (False, True)]
            upright.extend(both[0])
            mirrored.extend(both[1])

        self._process.room.use_all(pictures, describe)
        return upright, mirrored

    def _features(self, pictures: Sequence[Picture], *, mirrored: bool) -> list[Any]:
        process = self._process
        return process.learner.features_of(
            process.backbone, pictures, small=self._small, mirrored=mirrored
        )

    def _cached(self, content_hash: str) -> FeaturePair | None:
        process = self._process
        return process.learner.cached_pair(process.backbone, content_hash, small=self._small)

    def _pair_of(self, content_hash: str) -> FeaturePair:
        """Made again where the cache had no room. Raises: BackendError if the picture is gone."""
        kept = self._cached(content_hash)
        if kept is not None:
            return kept
        lesson, _ = self._seen[content_hash]
        picture = self._fetch(lesson)
        if isinstance(picture, BackendError):
            raise picture
        if picture.content_hash != content_hash:
            raise JobError(
                f"The picture of task {lesson.task_id} changed while it was learned from.",
                "Train again: it is taken as it is now.",
            )
        (upright,), (mirrored,) = self._described([picture])
        return upright, mirrored

    def _leave_out(self, lesson: Lesson, error: BackendError) -> None:
        self.left_out[error.code] = self.left_out.get(error.code, 0) + 1
        log.warning(
            "picture_not_learned",
            project=self._project_id,
            task=lesson.task_id,
            code=error.code,
            reason=str(error),
        )


def _by_address(lessons: Iterable[Lesson]) -> dict[str, Lesson]:
    """The first lesson on each picture, in order."""
    found: dict[str, Lesson] = {}
    for lesson in lessons:
        found.setdefault(lesson.address, lesson)
    return found


def labels_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Labels with at least one accepted box."""
    return tuple(sorted({label for example in examples for label in example.boxes.label}))


def questions_of(spec: LabelSpec) -> tuple[Asked, ...]:
    """What the controls of whole pictures ask."""
    choices = [Question(c.name, c.multiple) for c in spec.active if c.kind == "choices"]
    numbers = [Measure(c.name, c.values) for c in spec.active if c.values is not None]
    return (*choices, *numbers)


def digests_of(found: Mapping[str, tuple[Lesson, Example]]) -> dict[str, str]:
    """Digest of what is accepted, by picture."""
    return {picture: lesson.digest for picture, (lesson, _) in found.items()}


def nothing_accepted(entries: Iterable[Entry], spec: LabelSpec) -> str:
    """Why there is nothing to learn, in words; names accepted labels that are gone.

    A renamed label is a new one, and who renamed it should see why nothing is learned.
    """
    gone: Counter[str] = Counter()
    for entry in entries:
        if entry.skipped:
            continue
        known = {
            label.value for control in spec.active for label in spec.labels_for(control, entry.data)
        }
        result = list(entry.result)
        labels = [one.label for one in read_regions(result, spec)]
        labels += [one.label for one in read_tracks(result, spec)]
        gone.update(label for label in labels if label and label not in known)
    told = "No box of any label of the configuration has been accepted yet, and no answer."
    if not gone:
        return told
    named = ", ".join(f"{label} ({count})" for label, count in gone.most_common(_MOST_NAMED))
    return f"{told} It no longer has labels that were accepted: {named}."


def _taken(task: AcceptedTask, look: Look, looks: Sequence[Look]) -> tuple[str, ...]:
    """The accepted answer to one look; none where it may have been about another picture."""
    control = look.control
    if control.kind != "choices":
        return ()
    if control.per_item:
        return task.choices.get((control.name, look.item_index or 0), ())
    if sum(other.control.name == control.name for other in looks) > 1:
        return ()
    return task.choices.get((control.name, 0), ())


def _at(regions: Iterable[ReadRegion], places: set[tuple[str, int]]) -> tuple[ReadRegion, ...]:
    return tuple(one for one in regions if (one.control, one.item_index) in places)


def _masks_hw(regions: Sequence[ReadRegion]) -> tuple[BoolArray | None, ...]:
    """Of what was drawn as more than a box; nothing where nothing was."""
    masks = tuple(_mask_hw(one) for one in regions)
    return masks if any(mask is not None for mask in masks) else ()


def _mask_hw(region: ReadRegion) -> BoolArray | None:
    drawn = region.drawn
    if drawn is None or drawn.polygon_px is None:
        return None if drawn is None else drawn.mask_hw
    return filled(drawn.polygon_px, region.size_hw)


def _points_px(regions: Sequence[ReadRegion], size_hw: tuple[int, int]) -> dict[str, FloatArray]:
    """Places (N, 2) of key points by label."""
    points = [one for one in regions if one.is_point]
    places = _xyxy_px(points, size_hw)[:, :2]
    return {
        label: places[[at for at, one in enumerate(points) if one.label == label]]
        for label in sorted({one.label for one in points})
    }


def _xyxy_px(regions: Sequence[ReadRegion], size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    rows = [
        [edge * scale for edge, scale in zip(one.xyxy_px, 2 * (width / w, height / h), strict=True)]
        for one in regions
        for h, w in (one.size_hw,)
    ]
    return clip_xyxy_px(np.array(rows, np.float32).reshape(-1, 4), size_hw)

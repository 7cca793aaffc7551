"""Ways to propose boxes from accepted pictures, all asked in the same manner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backend.domain import Boxes, FloatArray, clip_xyxy_px, iou_matrix
from backend.evaluation.bed import Bed
from backend.evaluation.shelf import BATCH, Shelf
from backend.jobs.answers import joined
from backend.jobs.learner import TrainedHead
from backend.jobs.lessons import labels_of
from backend.learning.examples import Example
from backend.learning.matching import TIGHT
from backend.learning.promote import decide, judge
from backend.vision.detect import DetectOptions, LabelQuery


@dataclass(frozen=True, slots=True)
class Proposals:
    """boxes: of each picture asked for, by id. fit_s: time to learn, features not counted."""

    boxes: Mapping[str, Boxes]
    fit_s: float = 0.0


class Proposer(Protocol):
    """A way to propose. least: fewest accepted pictures with which it can."""

    name: str
    least: int

    def propose(self, accepted: Sequence[str], asked: Sequence[str]) -> Proposals:
        """Boxes for the pictures asked for when these are accepted (ids, oldest first)."""
        ...


class ConstantBox:
    """The median accepted box with the commonest label on every picture, whatever it shows.

    Its score is the share of accepted boxes that it would have matched.
    """

    name, least = "constant", 1

    def __init__(self, examples: Mapping[str, Example]) -> None:
        self._examples = examples

    def propose(self, accepted: Sequence[str], asked: Sequence[str]) -> Proposals:
        started = time.perf_counter()
        known = [self._examples[one].boxes for one in accepted]
        names = np.array([name for boxes in known for name in boxes.label], object)
        sizes = {one: self._examples[one].boxes.size_hw for one in asked}
        if not len(names):
            nothing = {one: Boxes.empty(size_hw) for one, size_hw in sizes.items()}
            return Proposals(nothing, time.perf_counter() - started)
        shares = np.concatenate([boxes.xyxy_px / _sides(boxes.size_hw) for boxes in known])
        middle = np.median(shares, 0)[None].astype(np.float32)
        commonest = Counter(sorted(names)).most_common(1)[0][0]
        right = (iou_matrix(middle, shares)[0] >= TIGHT) & (names == commonest)
        score = np.array([right.mean()], np.float32)
        boxes = {
            one: Boxes(
                clip_xyxy_px(middle * _sides(size_hw), size_hw), score, (commonest,), size_hw
            )
            for one, size_hw in sizes.items()
        }
        return Proposals(boxes, time.perf_counter() - started)


class ZeroShot:
    """What is found with nothing accepted: objects where a prior knows them, else by a map."""

    name, least = "zero_shot", 0

    def __init__(self, shelf: Shelf, labels: Sequence[LabelQuery], options: DetectOptions) -> None:
        self._shelf = shelf
        self._labels = labels
        self._options = options
        self._found: dict[str, Boxes] = {}

    def propose(self, accepted: Sequence[str], asked: Sequence[str]) -> Proposals:
        new = [one for one in asked if one not in self._found]
        self._found.update(self._shelf.zero_shot(new, self._labels, self._options))
        return Proposals({one: self._found[one] for one in asked})


@dataclass(frozen=True, slots=True)
class Trained:
    """A head, whether it would be published, and seconds of fitting without features."""

    head: TrainedHead
    publish: bool
    fit_s: float


class Learned:
    """What the product proposes: version 0 with no box accepted, a fitted head after.

    A head that is worse than version 0 on the accepted pictures is not published there and
    does not count here. Labels without an accepted box keep to version 0, and options to
    those that a labelling configuration leaves.
    """

    name, least = "learned", 0

    def __init__(
        self,
        shelf: Shelf,
        examples: Mapping[str, Example],
        version_zero: Proposer,
        labels: Sequence[LabelQuery],
    ) -> None:
        self._shelf = shelf
        self._examples = examples
        self._version_zero = version_zero
        self._labels = labels

    def propose(self, accepted: Sequence[str], asked: Sequence[str]) -> Proposals:
        trained = self.fit(accepted)
        if trained is None or not trained.publish:
            fit_s = trained.fit_s if trained else 0.0
            return Proposals(self._version_zero.propose(accepted, asked).boxes, fit_s)
        return Proposals(self.boxes(trained.head, asked), trained.fit_s)

    def fit(self, accepted: Sequence[str]) -> Trained | None:
        """A head, None where no box was accepted."""
        examples = [self._examples[one] for one in accepted]
        labels = labels_of(examples)
        if not labels:
            return None
        learner = self._shelf.learner
        features = self._shelf.both(accepted, small=learner.wants_small(examples))
        identity = self._shelf.backbone.identity
        started = time.perf_counter()
        fitted = learner.fit(examples, features, labels, (), identity, lambda share: None)
        fit_s = time.perf_counter() - started
        untaught = self._version_zero.propose((), accepted).boxes
        known = {one.picture: judge(untaught[one.picture], one.boxes) for one in examples}
        verdict = decide(fitted.counts, known, allow_chance=False)
        return Trained(fitted.head, verdict.publish, fit_s)

    def boxes(self, head: TrainedHead, asked: Sequence[str]) -> dict[str, Boxes]:
        """What a head proposes, by id, joined with version 0 for labels that it lacks.

        Version 0 reads its usual features here; a worker has it read those of the head,
        which are finer where objects are small.
        """
        options, known = DetectOptions(), frozenset(head.labels)
        lacking = any(label.value not in known for label in self._labels)
        found: dict[str, Boxes] = {}
        for at in range(0, len(asked), BATCH):
            part = asked[at : at + BATCH]
            features = list(self._shelf.upright(part, small=head.small))
            boxes = self._shelf.learner.predict(head, features)
            if lacking:
                others = self._version_zero.propose((), part).boxes
                beside = [others[one] for one in part]
                _, sight = self._shelf.sight(part, objects=True)
                boxes = joined(boxes, beside, sight.evidence, self._labels, known, few=head.few)
            found |= {
                one: own.best(options.max_boxes, options.score_threshold)
                for one, own in zip(part, boxes, strict=True)
            }
        return found


def learned_on(bed: Bed, version_zero: Proposer) -> Learned:
    """The product's own way on a set."""
    return Learned(bed.shelf, bed.examples, version_zero, bed.labels)


def zero_shot_on(bed: Bed) -> ZeroShot:
    """The zero-shot way on a set, with the options that a labelling configuration leaves."""
    return ZeroShot(bed.shelf, bed.labels, DetectOptions())


def _sides(size_hw: tuple[int, int]) -> FloatArray:
    height, width = size_hw
    return np.array([width, height, width, height], np.float32)

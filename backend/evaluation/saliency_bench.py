"""How saliency methods compare on pictures with true boxes: faithfulness, boxes, speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from backend.domain import Boxes, FloatArray, Picture
from backend.errors import ConfigError
from backend.evaluation.faithfulness import area, centre_is_in, deletion_and_insertion, points_at
from backend.evaluation.matching import Judgement, accuracy, judge
from backend.evaluation.saliency_scores import MethodScores, SaliencyScores
from backend.jobs.sight import Eyes
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.boxes.levels import best_share, fits
from backend.vision.detect import DetectOptions, LabelQuery, boxes_from_maps, look, prepare
from backend.vision.evidence import Named
from backend.vision.look import Looked
from backend.vision.objects import find
from backend.vision.questions import Question, ask, draw_maps, target_of
from backend.vision.saliency import OBJECTS, SaliencyMethod

BATCH = 8
"""Pictures in one forward pass; methods over many pictures compare these."""

T = TypeVar("T")


@dataclass
class _Tally:
    """What a method did so far. hits: whether it pointed right, by label."""

    hits: dict[str, list[bool]] = field(default_factory=dict)
    deleted: list[FloatArray] = field(default_factory=list)
    inserted: list[FloatArray] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    fits: list[FloatArray] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def scores(self, method: str, steps: int) -> MethodScores:
        deleted, inserted = (
            np.mean(curves, 0) if curves else np.zeros(steps + 1, np.float32)
            for curves in (self.deleted, self.inserted)
        )
        return MethodScores(
            method,
            float(np.median(self.ms)),
            mean_over_labels(self.hits),
            area(deleted),
            area(inserted),
            accuracy(self.judged).f1_50,
            best_share(self.fits),
            deleted,
            inserted,
        )


@dataclass(frozen=True, slots=True)
class _Scene:
    """A batch of pictures with all that is asked of it.

    asked: what ``detect`` asks. pairs: a true label of a picture each, as (row, label).
    look_ms: of a picture.
    """

    pictures: Sequence[Picture]
    truths: Sequence[Boxes]
    looked: Looked
    look_ms: float
    asked: Sequence[Question]
    pairs: Sequence[tuple[int, str]]


def measure_methods(
    name: str,
    backbone: Backbone,
    read: Sequence[Callable[[], tuple[Picture, Boxes]]],
    labels: Sequence[str],
    methods: Sequence[str],
    steps: int,
    *,
    eyes: Eyes | None = None,
    on_step: Callable[[str], None] = lambda told: None,
) -> SaliencyScores:
    """Every method on every picture, a batch at a time.

    read: gives a picture with its true boxes. labels: all that may be asked for, known by
    name alone. A label that matches no class is explained by the likeliest classes, as
    ``detect`` does. eyes: for the boxes of OBJECTS, whose map is that of ``cam``; None: its
    boxes are drawn by the map as well. Methods that cannot work with the backbone are left
    out. Raises: UnknownName before any work.
    """
    known = {method: saliency.get(method) for method in methods}
    queries = [LabelQuery(label, (label,)) for label in labels]
    tallies = {method: _Tally() for method in methods}
    left_out: dict[str, str] = {}
    centres: dict[str, list[bool]] = {}
    warmed: set[str] = set()
    for at in range(0, len(read), BATCH):
        scene = _scene(backbone, [one() for one in read[at : at + BATCH]], queries)
        for row, label in scene.pairs:
            truth = _of_label(scene.truths[row], label)
            centres.setdefault(label, []).append(centre_is_in(truth))
        for method in methods:
            on_step(f"{method}, {min(at + BATCH, len(read))} of {len(read)}")
            if method in left_out:
                continue
            objects = eyes if method == OBJECTS else None
            try:
                if method not in warmed:  # its first map loads libraries and plans
                    _maps(scene, scene.asked[:1], known[method])
                    warmed.add(method)
                _measure(scene, known[method], queries, objects, steps, tallies[method])
            except ConfigError as error:
                left_out[method] = str(error)
    scores = tuple(
        tallies[method].scores(method, steps) for method in methods if method not in left_out
    )
    return SaliencyScores(
        name,
        len(read),
        backbone.identity.name,
        steps,
        mean_over_labels(centres),
        scores,
        left_out,
    )


def evenly(items: Sequence[T], count: int | None) -> list[T]:
    """So many of the items, as far apart as can be, the first among them; None: all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[at * len(items) // count] for at in range(count)]


def mean_over_labels(hits: dict[str, list[bool]]) -> float:
    """The mean of each label's share; 0 without any."""
    return float(np.mean([np.mean(one) for one in hits.values()])) if hits else 0.0


def _scene(
    backbone: Backbone,
    pictures: Sequence[tuple[Picture, Boxes]],
    queries: Sequence[LabelQuery],
) -> _Scene:
    squares_u8 = np.stack([prepare(picture, backbone.size_px) for picture, _ in pictures])
    looked, look_ms = _timed(lambda: look(backbone, squares_u8))
    return _Scene(
        [picture for picture, _ in pictures],
        [truth for _, truth in pictures],
        looked,
        look_ms / len(pictures),
        ask(looked, queries),
        [
            (row, label)
            for row, (_, truth) in enumerate(pictures)
            for label in dict.fromkeys(truth.label)
        ],
    )


def _measure(
    scene: _Scene,
    method: SaliencyMethod,
    queries: Sequence[LabelQuery],
    eyes: Eyes | None,
    steps: int,
    tally: _Tally,
) -> None:
    looked = scene.looked
    wanted = [
        Question(row, Named(None, looked.backbone.matcher.match((label,)), None))
        for row, label in scene.pairs
    ]
    # A label that is asked for and true needs one map.
    unique = {(one.row, one.named.classes): one for one in (*scene.asked, *wanted)}
    maps, map_ms = _timed(lambda: _maps(scene, list(unique.values()), method))
    map_of = dict(zip(unique, maps, strict=True))
    options = DetectOptions(saliency=method.name)
    drawn = [map_of[one.row, one.named.classes] for one in scene.asked]
    boxes, box_ms = _timed(
        lambda: boxes_from_maps(scene.asked, drawn, scene.pictures, queries, options)
    )
    ms = scene.look_ms + (map_ms + box_ms) / max(1, len(unique))
    if eyes is not None:
        boxes, ms = _found_by(eyes, scene, queries, options)
    tally.ms.append(ms)
    tally.judged += [judge(one, truth) for one, truth in zip(boxes, scene.truths, strict=True)]
    for (row, label), question in zip(scene.pairs, wanted, strict=True):
        values_hw = map_of[row, question.named.classes]
        truth = _of_label(scene.truths[row], label)
        tally.hits.setdefault(label, []).append(points_at(values_hw, truth))
        tally.fits.append(fits(values_hw, truth))
        classes = _classes(looked, question)
        deleted, inserted = deletion_and_insertion(looked, row, classes, values_hw, steps)
        tally.deleted.append(deleted)
        tally.inserted.append(inserted)


def _maps(scene: _Scene, questions: Sequence[Question], method: SaliencyMethod) -> list[FloatArray]:
    return draw_maps(scene.looked, questions, method, {}, together=True)


def _found_by(
    eyes: Eyes, scene: _Scene, queries: Sequence[LabelQuery], options: DetectOptions
) -> tuple[list[Boxes], float]:
    """What is found with what is known of objects, and milliseconds a picture."""
    size_px = scene.looked.backbone.size_px
    squares_u8 = np.stack([prepare(picture, size_px) for picture in scene.pictures])
    boxes, ms = _timed(
        lambda: find(eyes.look(scene.pictures, squares_u8), scene.pictures, queries, options)
    )
    return boxes, ms / len(scene.pictures)


def _classes(looked: Looked, question: Question) -> list[int]:
    """The classes that the question's map explains."""
    rows = looked.select(torch.tensor([question.row]))
    target = target_of(rows, [question.named.classes])
    return [int(index) for index in target.class_index[0][target.weight[0] > 0]]


def _of_label(truth: Boxes, label: str) -> Boxes:
    return truth.select(at for at, name in enumerate(truth.label) if name == label)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result, which lies on the host, and milliseconds."""
    begun_s = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - begun_s) * 1000

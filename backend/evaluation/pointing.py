"""How well key points are told after a few accepted pictures, beside a constant place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.domain import Boxes, FloatArray, Picture, Points
from backend.errors import RequestError
from backend.evaluation.drawn_people import draw_person
from backend.evaluation.figures import Figures
from backend.evaluation.voc import read_voc
from backend.jobs.learner import Learner
from backend.learning.calibration import expected_calibration_error
from backend.learning.examples import Example
from backend.learning.fit_key_points import fit_key_points
from backend.learning.key_points import PointHead
from backend.learning.nearness import hits
from backend.media.decode import content_hash, decode_picture
from backend.vision.backbones import Backbone

_MOST_PIXELS = 100_000_000
BATCH = 16


@dataclass(frozen=True, slots=True)
class Pointed:
    """A picture with its true points. points_px: (N, 2) by label."""

    picture: Picture
    points_px: Mapping[str, FloatArray]


def drawn_people(count: int) -> list[Pointed]:
    """Drawn people with all their parts."""
    people = [draw_person(seed) for seed in range(count)]
    return [
        Pointed(Picture(one.rgb_u8, one.rgb_u8.shape[:2], f"person-{at}"), one.points_px)
        for at, one in enumerate(people)
    ]


def points_of_boxes(folder: Path, count: int, *, corners: bool) -> list[Pointed]:
    """Pictures of a VOC folder with points made of their boxes: nobody clicked them.

    The centre of each; with corners its four corners as well, of pictures with a single box.
    """
    found: list[Pointed] = []
    for one in read_voc(folder).pictures:
        if len(found) == count:
            break
        if corners and len(one.truth) != 1:
            continue
        data = one.path.read_bytes()
        picture = decode_picture(data, max_pixels=_MOST_PIXELS)
        places: dict[str, list[tuple[float, float]]] = {}
        for label, (x0, y0, x1, y1) in zip(
            one.truth.label, one.truth.xyxy_px.tolist(), strict=True
        ):
            places.setdefault(label, []).append(((x0 + x1) / 2, (y0 + y1) / 2))
            if corners:
                for name, place in zip(
                    ("top left", "top right", "bottom left", "bottom right"),
                    ((x0, y0), (x1, y0), (x0, y1), (x1, y1)),
                    strict=True,
                ):
                    places.setdefault(name, []).append(place)
        points_px = {label: np.array(rows, np.float32) for label, rows in places.items()}
        found.append(Pointed(replace(picture, content_hash=content_hash(data)), points_px))
    return found


def measure_pointing(
    name: str,
    pointed: Sequence[Pointed],
    backbone: Backbone,
    learner: Learner,
    *,
    accepted: Sequence[int],
    judged: int,
    say: Callable[[str], None],
) -> Figures:
    """PCK on the last so many pictures, after the first so many were accepted.

    pck: share of true points to which a told one is near. parts_alone: the same of each
    label's map without relations. mean: of the mean place of the accepted points of a label.
    right: share of told points that are near to a true one. ece: of their scores. fit_s: what
    the fit took, features at hand. Raises: RequestError where there are too few pictures.
    """
    if min(accepted, default=0) < 1 or len(pointed) < max(accepted) + judged:
        raise RequestError(
            f"{len(pointed)} pictures are not enough to accept {', '.join(map(str, accepted))} "
            f"and judge {judged} others.",
            "Ask for one accepted picture at least, and no more than there are.",
        )
    learned, shown = pointed[: max(accepted)], pointed[-judged:]
    say("features")
    pictures = [one.picture for one in learned]
    upright, mirrored = (
        _features(backbone, learner, pictures, mirrored=turned) for turned in (False, True)
    )
    pairs = {
        one.content_hash: pair
        for one, pair in zip(pictures, zip(upright, mirrored, strict=True), strict=True)
    }
    seen = _features(backbone, learner, [one.picture for one in shown], mirrored=False)
    values: dict[str, float | None] = {}
    for count in accepted:
        say(f"{count} accepted")
        begun_s = time.perf_counter()
        head = fit_key_points(
            [_example(one) for one in learned[:count]], pairs, backbone.identity
        ).head
        took_s = time.perf_counter() - begun_s
        told = [head(features) for features in seen]
        alone = [_without_relations(head)(features) for features in seen]
        near, scores = _near(told, shown)
        total = sum(len(points) for one in shown for points in one.points_px.values())
        values |= {
            f"pck_{count}": sum(near) / total,
            f"parts_alone_{count}": sum(_near(alone, shown)[0]) / total,
            f"mean_{count}": sum(_near(_means(learned[:count], shown), shown)[0]) / total,
            f"right_{count}": sum(near) / max(1, len(near)),
            f"ece_{count}": expected_calibration_error(scores, near),
            f"fit_s_{count}": took_s,
        }
    about = {"data": name, "backbone": backbone.identity.name, "judged": judged}
    return Figures(values, about, f"{name}: key points on {judged} pictures")


def _features(
    backbone: Backbone, learner: Learner, pictures: Sequence[Picture], *, mirrored: bool
) -> list[Any]:
    found: list[Any] = []
    for at in range(0, len(pictures), BATCH):
        part = pictures[at : at + BATCH]
        found += learner.features_of(backbone, part, small=False, mirrored=mirrored)
    return found


def _example(one: Pointed) -> Example:
    return Example(
        one.picture.content_hash,
        Boxes.empty(one.picture.size_hw),
        np.zeros((0, 4), np.float32),
        drawn_on=False,
        points_px=one.points_px,
        pointed_on=True,
    )


def _without_relations(head: PointHead) -> PointHead:
    loose = replace(head.layout.relations, parent=np.full(len(head.parts), -1, np.int64))
    return replace(head, layout=replace(head.layout, relations=loose))


def _means(learned: Sequence[Pointed], shown: Sequence[Pointed]) -> list[Points]:
    """The mean place of each label's accepted points, in shares of the picture, on each."""
    labels = sorted({label for one in learned for label in one.points_px})
    mean = [
        np.concatenate(
            [
                one.points_px[label] / np.array(one.picture.size_hw[::-1], np.float32)
                for one in learned
                if label in one.points_px
            ]
        ).mean(0)
        for label in labels
    ]
    ones = np.ones(len(labels), np.float32)
    return [
        Points(
            (np.stack(mean) * one.picture.size_hw[::-1]).astype(np.float32),
            ones,
            tuple(labels),
            one.picture.size_hw,
        )
        for one in shown
    ]


def _near(told: Sequence[Points], shown: Sequence[Pointed]) -> tuple[list[bool], list[float]]:
    """Of each told point whether it is near to a true one of its label, and its score."""
    near: list[bool] = []
    scores: list[float] = []
    none = np.zeros((0, 2), np.float32)
    for points, one in zip(told, shown, strict=True):
        for label in dict.fromkeys(points.label):
            own = [at for at, name in enumerate(points.label) if name == label]
            own.sort(key=lambda at: -float(points.score[at]))
            true = one.points_px.get(label, none)
            near += hits(points.xy_px[own], true, points.size_hw).tolist()
            scores += points.score[own].tolist()
    return near, scores

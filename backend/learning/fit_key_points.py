"""Fitting a head for key points: everything that is judged is judged out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from backend.domain import BackboneIdentity, BoolArray, FloatArray
from backend.learning.examples import Example
from backend.learning.folds import Folds
from backend.learning.grids import FeaturePair
from backend.learning.key_points import (
    Guess,
    Layout,
    PointHead,
    described,
    guesses,
    layout_of,
    likely,
)
from backend.learning.linear import RidgeSums, fit_logistic
from backend.learning.nearness import hits
from backend.learning.one_thread import one_thread
from backend.learning.part_maps import PartMaps, maps_from, sums_of
from backend.learning.prior import prior_for
from backend.learning.whitening import ENOUGH_PICTURES, Whitening, fit_whitening

_START = (-1.0, 3.0, -3.0)
"""Weights of constant, value and strain before anything is known of a project."""

_START_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class FittedPoints:
    """A head with what it is worth out of fold.

    pck: share of accepted points that a told point is near to (``nearness.NEAR``);
    pck_of_mean: the same of the mean place of each label. right: by picture and label,
    whether just the accepted points were told. A single picture leaves nothing to judge by:
    0, 0 and nothing, and what it had is told wherever it may be.
    """

    head: PointHead
    pck: float
    pck_of_mean: float
    right: Mapping[str, Mapping[str, bool]]


@dataclass(frozen=True, slots=True)
class _Picture:
    """places: (N, 2) of each part in picture units, and the same of the picture mirrored."""

    name: str
    size_hw: tuple[int, int]
    places: tuple[FloatArray, ...]
    mirrored: tuple[FloatArray, ...]
    wrong: FloatArray


@dataclass(frozen=True, slots=True)
class _Fit:
    """Maps and layout by the fold that they are without, and guesses on each picture."""

    maps: dict[int | None, PartMaps]
    layouts: dict[int | None, Layout]
    found: list[list[Guess]]

    def hit(self, pictures: Sequence[_Picture]) -> list[BoolArray]:
        """Of each picture's guesses, which are accepted points."""
        return [_hit(one, found) for one, found in zip(pictures, self.found, strict=True)]


def point_labels(examples: Sequence[Example]) -> tuple[str, ...]:
    """Labels of which a key point was accepted."""
    return tuple(
        sorted({name for one in examples for name, points in one.points_px.items() if len(points)})
    )


@one_thread()
def fit_key_points(
    examples: Sequence[Example], features: Mapping[str, FeaturePair], backbone: BackboneIdentity
) -> FittedPoints:
    """A head from pictures on which key points were asked for.

    features: upright and mirrored, by ``Example.picture``, asked for twice. Mirrored pictures
    are learned from as well, left and right changing places in the names of labels, unless
    that finds fewer points out of fold: a label may tell sides in words that are not known.
    Raises: ValueError where no label has a point.
    """
    parts = point_labels(examples)
    if not parts:
        raise ValueError("no key point was accepted")
    pictures = [_picture(one, parts) for one in examples]
    whitening = _whitening(pictures, features, backbone)
    folds = Folds.dealt(len(pictures))
    # By fold, not by picture: the sums of one take megabytes.
    upright: dict[int, RidgeSums] = {}
    both: dict[int, RidgeSums] = {}
    for number, (one, fold) in enumerate(zip(pictures, folds.of, strict=True)):
        pair = features[one.name]
        wrong = np.stack([1 - one.wrong[:, 0], one.wrong[:, 1]], 1)
        own = sums_of(pair[0], whitening, one.places, one.wrong, number)
        turned = own + sums_of(pair[1], whitening, one.mirrored, wrong, number)
        upright[fold] = upright[fold] + own if fold in upright else own
        both[fold] = both[fold] + turned if fold in both else turned
    fits = [
        _Fit(*_fitted(folds, both, pictures, whitening, mirrored=True), []),
        _Fit(*_fitted(folds, upright, pictures, whitening, mirrored=False), []),
    ]
    for one, fold in zip(pictures, folds.of, strict=True):
        shown = features[one.name][0]
        for fit in fits:
            fit.found.append(guesses(fit.maps[fold](shown), fit.layouts[fold]))
    best = max(fits, key=lambda fit: sum(int(hit.sum()) for hit in fit.hit(pictures)))
    return _judged(best, pictures, parts, folds)


def _whitening(
    pictures: Sequence[_Picture], features: Mapping[str, FeaturePair], backbone: BackboneIdentity
) -> Whitening:
    spread = np.linspace(0, len(pictures) - 1, min(len(pictures), ENOUGH_PICTURES)).astype(int)
    some = [features[pictures[at].name][0] for at in spread]
    prior = prior_for(backbone.name, some)
    return prior.whitening if prior is not None else fit_whitening(some)


def _picture(example: Example, parts: Sequence[str]) -> _Picture:
    height, width = example.boxes.size_hw
    size = np.array([width, height], np.float32)
    none = np.zeros((0, 2), np.float32)
    places = tuple(example.points_px.get(name, none).reshape(-1, 2) / size for name in parts)
    turned = [np.stack([1 - one[:, 0], one[:, 1]], 1) for one in places]
    deleted = [points.reshape(-1, 2) / size for points in example.rejected_points_px.values()]
    return _Picture(
        example.picture,
        example.boxes.size_hw,
        places,
        tuple(turned[at] for at in partners(parts)),
        np.concatenate([none, *deleted]),
    )


def partners(parts: Sequence[str]) -> list[int]:
    """Of each part, whose place it has in a mirrored picture: "left" and "right" change places."""
    at = {name.casefold(): number for number, name in enumerate(parts)}
    return [at.get(_other_side(name.casefold()), number) for number, name in enumerate(parts)]


def _other_side(name: str) -> str:
    return "right".join(part.replace("right", "left") for part in name.split("left"))


def _fitted(
    folds: Folds,
    sums: Mapping[int, RidgeSums],
    pictures: Sequence[_Picture],
    whitening: Whitening,
    *,
    mirrored: bool,
) -> tuple[dict[int | None, PartMaps], dict[int | None, Layout]]:
    def layout(fold: int | None) -> Layout:
        learned = folds.outside(pictures, fold)
        turned = [one.mirrored for one in learned] if mirrored else []
        return layout_of([*(one.places for one in learned), *turned])

    maps = folds.each(
        lambda fold: maps_from(reduce(add, (sums[o] for o in folds.others(fold))), whitening)
    )
    return maps, folds.each(layout)


def _judged(
    fit: _Fit, pictures: Sequence[_Picture], parts: tuple[str, ...], folds: Folds
) -> FittedPoints:
    start = np.zeros(3 + len(parts), np.float32)
    start[:3] = _START
    if len(pictures) < 2:
        head = PointHead(parts, parts, fit.maps[None], fit.layouts[None], start, 0.0)
        return FittedPoints(head, 0.0, 0.0, {})
    hit = fit.hit(pictures)
    rows = [described(found, len(parts)) for found in fit.found]
    happened = np.concatenate(hit).astype(np.float32)
    sure = fit_logistic(np.concatenate(rows), happened, start, _START_WEIGHT)
    probability = [likely(one, sure) for one in rows]
    cut = _cut(probability, hit, fit.found, pictures)
    head = PointHead(parts, parts, fit.maps[None], fit.layouts[None], sure, cut)
    told = [one >= cut for one in probability]
    accepted = sum(len(points) for one in pictures for points in one.places)
    near = sum(int((one & shown).sum()) for one, shown in zip(hit, told, strict=True))
    right = {
        picture.name: _right(picture, found, one & shown, shown, parts)
        for picture, found, one, shown in zip(pictures, fit.found, hit, told, strict=True)
    }
    return FittedPoints(head, near / accepted, _pck_of_mean(pictures, folds) / accepted, right)


def _hit(picture: _Picture, found: Sequence[Guess]) -> BoolArray:
    """(N,) which guesses are accepted points."""
    hit = np.zeros(len(found), np.bool_)
    size = np.array(picture.size_hw[::-1], np.float32)
    for part, accepted in enumerate(picture.places):
        own = [at for at, one in enumerate(found) if one.part == part]
        if own:
            told_px = np.array([found[at].xy_unit for at in own], np.float32) * size
            hit[own] = hits(told_px, accepted * size, picture.size_hw)
    return hit


def _right(
    picture: _Picture,
    found: Sequence[Guess],
    near: BoolArray,
    told: BoolArray,
    parts: Sequence[str],
) -> dict[str, bool]:
    part_of = np.array([one.part for one in found], np.int64)
    return {
        name: int((near & (part_of == part)).sum())
        == int((told & (part_of == part)).sum())
        == len(picture.places[part])
        for part, name in enumerate(parts)
    }


def _cut(
    probability: Sequence[FloatArray],
    hit: Sequence[BoolArray],
    found: Sequence[Sequence[Guess]],
    pictures: Sequence[_Picture],
) -> float:
    """Probability from which telling points saves most work.

    A point told right saves one placing. A wrong one is moved where a part is to be placed
    anyway, which is the same work, and deleted where none is, which is more.
    """
    gain: list[tuple[float, int]] = []
    for sure, right, of_picture, picture in zip(probability, hit, found, pictures, strict=True):
        part_of = np.array([one.part for one in of_picture], np.int64)
        for part, accepted in enumerate(picture.places):
            own = np.flatnonzero(part_of == part)
            unplaced = len(accepted) - int(right[own].sum())
            for at in own[np.argsort(-sure[own], kind="stable")].tolist():
                if right[at]:
                    gain.append((float(sure[at]), 1))
                else:
                    gain.append((float(sure[at]), 0 if unplaced > 0 else -1))
                    unplaced -= 1
    ordered = sorted(gain, reverse=True)
    saved = np.cumsum([one for _, one in ordered])
    if not len(saved) or saved.max() <= 0:
        return 1.0
    # Of cuts that save alike the lowest: a point that is moved shows that a part is missing.
    return ordered[len(saved) - 1 - int(saved[::-1].argmax())][0]


def _pck_of_mean(pictures: Sequence[_Picture], folds: Folds) -> int:
    """How many points are near to the mean place of their label on other pictures."""
    near = 0
    for picture, fold in zip(pictures, folds.of, strict=True):
        size = np.array(picture.size_hw[::-1], np.float32)
        others = folds.outside(pictures, fold)
        for part, accepted in enumerate(picture.places):
            known = np.concatenate([one.places[part] for one in others])
            if len(known):
                mean = known.mean(0, keepdims=True)
                near += int(hits(mean * size, accepted * size, picture.size_hw).sum())
    return near

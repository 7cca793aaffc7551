"""A head for key points: each label is a part whose map over the frozen cells is learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.domain import FloatArray, IntArray, Points
from backend.learning.features import PictureFeatures
from backend.learning.part_maps import PartMaps
from backend.learning.part_relations import CANDIDATES, Relations, fit_relations
from backend.learning.tensors import Tensors, pack, unpack
from backend.vision.peaks import Peaks, peaks_of

_APART = 0.06
"""Between candidates of a part that a picture has once, in picture units."""

_LEAST_APART = 0.02


@dataclass(frozen=True, slots=True)
class Layout:
    """How parts lie on pictures. most (K,): of each at most. apart (K,): between two of one
    label at least, in picture units. relations: between parts that a picture has once.
    """

    most: IntArray
    apart: FloatArray
    relations: Relations


@dataclass(frozen=True, slots=True)
class Guess:
    """A place that may be a part. part: its position among the labels. value: of the map
    there. strain: how much its springs are stretched, 0..1.
    """

    part: int
    xy_unit: FloatArray
    value: float
    strain: float


@dataclass(frozen=True, slots=True)
class PointHead:
    """parts: what was learned, as Label Studio stores labels. labels: those of them that are
    told. sure (3 + K,): weights from ``described`` guesses to the logit of the probability
    that a person leaves the point. cut: probability from which a point is told.
    """

    parts: tuple[str, ...]
    labels: tuple[str, ...]
    maps: PartMaps
    layout: Layout
    sure: FloatArray
    cut: float

    def __call__(self, features: PictureFeatures) -> Points:
        """The key points of a picture, in the order of the parts."""
        found = guesses(self.maps(features), self.layout)
        probability = likely(described(found, len(self.parts)), self.sure)
        kept = [
            at
            for at, one in enumerate(found)
            if probability[at] >= self.cut and self.parts[one.part] in self.labels
        ]
        height, width = features.size_hw
        xy_px = np.array([found[at].xy_unit for at in kept], np.float32).reshape(-1, 2)
        return Points(
            np.clip(xy_px, 0, 1) * np.array([width, height], np.float32),
            probability[kept],
            tuple(self.parts[found[at].part] for at in kept),
            features.size_hw,
        )

    def without(self, labels: Collection[str]) -> PointHead:
        """The same, not telling these; their maps still help to place the others."""
        return replace(self, labels=tuple(one for one in self.labels if one not in labels))

    def to_tensors(self, name: str) -> tuple[Tensors, dict[str, Any]]:
        """Its arrays under this name, and what is told beside them."""
        arrays: Tensors = {
            f"{name}/tap/{i}": weights for i, weights in enumerate(self.maps.weights)
        }
        arrays |= {f"{name}/offset": self.maps.offset, f"{name}/sure": self.sure}
        arrays |= {f"{name}/most": self.layout.most, f"{name}/apart": self.layout.apart}
        arrays |= pack(f"{name}/relations", self.layout.relations)
        told = {"parts": self.parts, "labels": self.labels, "cut": self.cut}
        return arrays, {**told, "taps": len(self.maps.weights)}

    @classmethod
    def from_tensors(cls, name: str, arrays: Tensors, record: Mapping[str, Any]) -> PointHead:
        """What ``to_tensors`` took apart. Raises: KeyError, ValueError, TypeError."""
        taps = range(int(record["taps"]))
        maps = PartMaps(tuple(arrays[f"{name}/tap/{i}"] for i in taps), arrays[f"{name}/offset"])
        relations = unpack(Relations, f"{name}/relations", arrays)
        layout = Layout(arrays[f"{name}/most"], arrays[f"{name}/apart"], relations)
        parts, labels = (tuple(map(str, record[key])) for key in ("parts", "labels"))
        return cls(parts, labels, maps, layout, arrays[f"{name}/sure"], float(record["cut"]))


def layout_of(places: Sequence[Sequence[FloatArray]]) -> Layout:
    """places: of each picture, of each part (N, 2) in picture units."""
    counts = np.array([[len(part) for part in picture] for picture in places], np.int64)
    most = counts.max(0)
    apart = [
        _APART if most[part] < 2 else max(_least([one[part] for one in places]), _LEAST_APART)
        for part in range(len(most))
    ]
    once = np.full((*counts.shape, 2), np.nan, np.float32)
    for row, picture in enumerate(places):
        for part, known in enumerate(picture):
            if most[part] == 1 and len(known):
                once[row, part] = known[0]
    # Other pictures may show more of a part than any so far.
    allowed = np.where(most > 1, 2 * most, most)
    return Layout(allowed, np.array(apart, np.float32), fit_relations(once))


def guesses(maps_khw: FloatArray, layout: Layout) -> list[Guess]:
    """What may be told of a picture with these maps, of each part best first.

    A part that a picture has once is where its map and its relations agree best; of others
    the peaks are taken as they are.
    """
    several = layout.most > 1
    peaks = [
        peaks_of(one, int(most) if many else CANDIDATES, float(apart))
        for one, most, many, apart in zip(maps_khw, layout.most, several, layout.apart, strict=True)
    ]
    single = [Peaks(*_NONE) if many else one for one, many in zip(peaks, several, strict=True)]
    chosen = layout.relations.choose(single)
    places = [one.xy_unit[at] if at >= 0 else None for one, at in zip(single, chosen, strict=True)]
    strain = layout.relations.strain(places)
    found = []
    for part, one in enumerate(peaks):
        taken = range(len(one)) if several[part] else [at for at in (chosen[part],) if at >= 0]
        found += [
            Guess(part, one.xy_unit[at], float(one.value[at]), float(strain[part])) for at in taken
        ]
    return found


def described(found: Sequence[Guess], parts: int) -> FloatArray:
    """(N, 3 + K) rows to judge guesses by: a constant, value, strain, and which part it is."""
    rows = np.zeros((len(found), 3 + parts), np.float32)
    for row, one in zip(rows, found, strict=True):
        row[:3] = 1.0, one.value, one.strain
        row[3 + one.part] = 1.0
    return rows


def likely(rows: FloatArray, sure: FloatArray) -> FloatArray:
    """(N,) probability that a person leaves a point, from ``described`` rows."""
    return np.asarray(1 / (1 + np.exp(-np.clip(rows @ sure, -30, 30))), np.float32)


_NONE = (np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def _least(of_pictures: Sequence[FloatArray]) -> float:
    """Half of the least distance between two points of one picture."""
    least = np.inf
    for points in of_pictures:
        if len(points) > 1:
            far = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
            least = min(least, float(far[~np.eye(len(points), dtype=bool)].min()))
    return least / 2

"""Boxes of single frames linked into tracks.

Between two frames that are looked at, each box goes with the picture's own points
(``flow.carry``). Where boxes are seen again, the ones that overlap best and look most alike
are the same thing (Kuhn 1955). What is not seen for a moment goes on with the flow; after
that it is lost, until something that looks alike appears.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from backend.domain import FloatArray, U8Array, iou_matrix
from backend.video.flow import carry, find_again
from backend.video.frames import Frame
from backend.video.smoothing import coordinates
from backend.video.tracks import Spot, Track

_OVERLAP_SHARE = 0.7
"""Of overlap in the likeness of two boxes; the rest is how alike they look."""

_LEAST_OVERLAP, _LEAST_LIKENESS = 0.1, 0.5
_ALIKE = 0.8
"""Cosine from which something far from the last place is the same thing again."""

_UNSEEN_SURENESS, _SCORE_KEPT = 0.3, 0.7
_REMEMBERED = 0.2
"""Share of what was just seen in what is remembered of a thing's looks."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A box on one frame. xyxy_px: (4,). looks: (C,) of length 1, None where nothing says."""

    xyxy_px: FloatArray
    label: str
    score: float
    looks: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class LinkRules:
    """birth_score: of a box that may begin a track. patience: frames looked at in a row on
    which a thing may be unseen. least_seen: times a thing must be seen to count.
    """

    birth_score: float = 0.3
    patience: int = 2
    least_seen: int = 2


@dataclass
class _Thing:
    """A track in the making. place: its box now, None where it is lost from sight."""

    label: str
    place: FloatArray | None
    looks: FloatArray | None
    stretches: list[list[Spot]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    unseen: int = 0


class Linker:
    """Links frame after frame; nothing of a frame is kept beyond the next.

    scale: of the grey frames over the frames that boxes refer to.
    """

    def __init__(self, rules: LinkRules, scale: float) -> None:
        self._rules = rules
        self._scale = np.float32(scale)
        self._things: list[_Thing] = []
        self._grey: U8Array | None = None

    def advance(self, frame: Frame) -> None:
        """The next frame, which is not looked at: what is in sight moves with it."""
        before, self._grey = self._grey, frame.grey_hw
        if before is None:
            return
        for thing in self._things:
            if thing.place is not None and thing.unseen <= self._rules.patience:
                thing.place = self._carried(before, frame.grey_hw, thing.place)

    def look(self, frame: Frame, sightings: Sequence[Sighting]) -> None:
        """The next frame, on which this was seen."""
        self.advance(frame)
        taken: set[int] = set()
        for thing, at in self._pairs(sightings):
            taken.add(at)
            self._see(thing, frame, sightings[at])
        for thing in self._things:
            if thing.unseen or not thing.stretches or thing.stretches[-1][-1].frame != frame.number:
                self._miss(thing, frame)
        for at, sighting in enumerate(sightings):
            if at not in taken and sighting.score >= self._rules.birth_score:
                thing = _Thing(sighting.label, None, sighting.looks)
                self._things.append(thing)
                self._see(thing, frame, sighting)

    def tracks(self) -> list[Track]:
        """What was found so far, the surest first."""
        found = []
        for thing in self._things:
            stretches = tuple(tuple(kept) for kept in map(_without_tail, thing.stretches) if kept)
            if len(thing.scores) >= self._rules.least_seen and stretches:
                found.append(Track(thing.label, float(np.mean(thing.scores)), stretches))
        return sorted(found, key=lambda track: -track.score)

    def _carried(self, before: U8Array, after: U8Array, place: FloatArray) -> FloatArray | None:
        small = place * self._scale
        moved = carry(before, after, small) or find_again(before, after, small)
        return None if moved is None else moved.xyxy_px / self._scale

    def _pairs(self, sightings: Sequence[Sighting]) -> list[tuple[_Thing, int]]:
        by_label: defaultdict[str, list[int]] = defaultdict(list)
        for at, sighting in enumerate(sightings):
            by_label[sighting.label].append(at)
        pairs = []
        for label, places in by_label.items():
            things = [thing for thing in self._things if thing.label == label]
            if not things:
                continue
            likeness = np.array(
                [[_likeness(thing, sightings[at]) for at in places] for thing in things]
            )
            rows, columns = linear_sum_assignment(-likeness)
            pairs += [
                (things[row], places[column])
                for row, column in zip(rows, columns, strict=True)
                if likeness[row, column] > 0
            ]
        return pairs

    def _see(self, thing: _Thing, frame: Frame, sighting: Sighting) -> None:
        in_sight = thing.place is not None and thing.unseen <= self._rules.patience
        moved = None
        if in_sight and thing.place is not None and thing.stretches:
            last = thing.stretches[-1][-1].xyxy_px
            moved = coordinates(thing.place) - coordinates(last)
        if not in_sight:
            thing.stretches.append([])
        spot = Spot(frame.number, frame.time_s, sighting.xyxy_px, sighting.score, 1.0, moved)
        thing.stretches[-1].append(spot)
        thing.scores.append(sighting.score)
        thing.place, thing.unseen = sighting.xyxy_px, 0
        if sighting.looks is not None:
            thing.looks = _mixed(thing.looks, sighting.looks)

    def _miss(self, thing: _Thing, frame: Frame) -> None:
        thing.unseen += 1
        if thing.place is None or thing.unseen > self._rules.patience or not thing.stretches:
            thing.place = None
            return
        last = thing.stretches[-1][-1]
        moved = coordinates(thing.place) - coordinates(last.xyxy_px)
        carried = Spot(
            *(frame.number, frame.time_s, thing.place),
            *(last.score * _SCORE_KEPT, _UNSEEN_SURENESS, moved),
        )
        thing.stretches[-1].append(carried)


def _likeness(thing: _Thing, sighting: Sighting) -> float:
    """0 where they cannot be the same, else up to 1."""
    alike = 0.5
    if thing.looks is not None and sighting.looks is not None:
        alike = float(thing.looks @ sighting.looks)
    if thing.place is None:
        return 0.5 * alike if alike >= _ALIKE else 0.0
    overlap = float(iou_matrix(thing.place[None], sighting.xyxy_px[None])[0, 0])
    if overlap < _LEAST_OVERLAP and alike < _ALIKE:
        return 0.0
    if alike < _LEAST_LIKENESS:
        return 0.0
    return _OVERLAP_SHARE * overlap + (1 - _OVERLAP_SHARE) * alike


def _mixed(known: FloatArray | None, seen: FloatArray) -> FloatArray:
    if known is None:
        return seen
    mixed = (1 - _REMEMBERED) * known + _REMEMBERED * seen
    return (mixed / max(float(np.linalg.norm(mixed)), 1e-6)).astype(np.float32)


def _without_tail(stretch: Sequence[Spot]) -> Sequence[Spot]:
    """Up to the last spot at which the thing was seen."""
    seen = [at for at, spot in enumerate(stretch) if spot.sureness == 1.0]
    return stretch[: seen[-1] + 1] if seen else ()

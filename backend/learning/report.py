"""What proposals saved a team, counted from what people did with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np

from backend.learning.nearness import likeness

SAME_IOU = 0.995
"""Overlap from which a box counts as untouched: Label Studio rounds what it stores."""

IOU_EDGES = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Edges of the intervals in which overlaps before and after a correction are counted."""

JUDGE_F1 = 0.5
"""A head whose out-of-fold F1 at IoU 0.5 is lower has no say in which labels look wrong."""

DOUBT_SHARE = 0.5
"""A picture is doubtful when its own F1 is at most this share of the head's."""


@dataclass(frozen=True, slots=True)
class ReviewedBox:
    """A rectangle, or a key point: both corners the same.

    id: the region's; the same in prediction and annotation names the same box. size_hw: of
    the picture, by which the distance of key points is judged.
    """

    id: str
    label: str
    xyxy_px: tuple[float, float, float, float]
    size_hw: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Review:
    """One annotation: what was proposed, and what a person made of it.

    with_prediction: whether the person began with one. version: that prediction's, None
    where it is not known what was proposed. lead_time_s: time the person took, None where
    it was not told.
    """

    task_id: int
    with_prediction: bool
    version: str | None
    proposed: tuple[ReviewedBox, ...]
    accepted: tuple[ReviewedBox, ...]
    lead_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A picture's accepted boxes held against what a head fitted without it proposes.

    hits: accepted boxes that it found too (right label, IoU 0.5). extra: proposals beside
    them. missed: accepted boxes that it did not find.
    """

    task_id: int
    hits: int
    extra: int
    missed: int

    @property
    def f1(self) -> float:
        boxes = 2 * self.hits + self.extra + self.missed
        return 2 * self.hits / boxes if boxes else 1.0


@dataclass
class Tally:
    """What became of proposals, and what had to be drawn beside them.

    overlaps: likeness of each changed one to its proposal, of boxes their intersection over
    union. relabelled: how many of the changed ones got another label.
    """

    kept: int = 0
    changed: int = 0
    relabelled: int = 0
    rejected: int = 0
    missed: int = 0
    overlaps: list[float] = field(default_factory=list)

    @property
    def proposed(self) -> int:
        return self.kept + self.changed + self.rejected

    @property
    def edits(self) -> int:
        return self.changed + self.rejected + self.missed

    def as_dict(self) -> dict[str, Any]:
        """Plain values; overlap_counts are those of IOU_EDGES."""
        return {
            "proposed": self.proposed,
            "kept": self.kept,
            "changed": self.changed,
            "relabelled": self.relabelled,
            "rejected": self.rejected,
            "missed": self.missed,
            "changed_iou_median": median(self.overlaps) if self.overlaps else None,
            "changed_iou_counts": overlap_counts(self.overlaps),
        }


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version. untouched: pictures submitted without a single edit."""

    version: str
    pictures: int
    untouched: int
    edits_a_picture: float
    total: Tally
    by_label: dict[str, Tally]


@dataclass(frozen=True, slots=True)
class LeadTime:
    """Time people took; median_s is None where no time was told."""

    pictures: int
    median_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """A project. versions: in the order in which they first appear in the reviews.

    doubts: pictures whose accepted labels look wrong, the most doubtful first. judged: how
    many pictures a head was held against.
    """

    project_id: int
    annotations: int
    versions: tuple[VersionReport, ...]
    with_prediction: LeadTime
    without_prediction: LeadTime
    judged: int
    doubts: tuple[HeldOut, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "project": self.project_id,
            "annotations": self.annotations,
            "iou_edges": list(IOU_EDGES),
            "versions": [
                {
                    "version": one.version,
                    "pictures": one.pictures,
                    "untouched": one.untouched,
                    "edits_a_picture": one.edits_a_picture,
                    "total": one.total.as_dict(),
                    "labels": {name: tally.as_dict() for name, tally in one.by_label.items()},
                }
                for one in self.versions
            ],
            "lead_time": {
                "with_prediction": _lead_dict(self.with_prediction),
                "without_prediction": _lead_dict(self.without_prediction),
            },
            "judged": self.judged,
            "doubts": [
                {
                    "task": one.task_id,
                    "hits": one.hits,
                    "extra": one.extra,
                    "missed": one.missed,
                }
                for one in self.doubts
            ],
        }


def build_report(
    project_id: int, reviews: Sequence[Review], held_out: Sequence[HeldOut] = ()
) -> Report:
    """Count what people did with proposals.

    reviews: oldest first. A proposal counts under its own label, a missed box under the
    label it was given; a box drawn where no prediction is known is not missed.
    """
    versions: dict[str, list[Review]] = {}
    for review in reviews:
        if review.version is not None:
            versions.setdefault(review.version, []).append(review)
    return Report(
        project_id=project_id,
        annotations=len(reviews),
        versions=tuple(_version(name, group) for name, group in versions.items()),
        with_prediction=_lead_time(one for one in reviews if one.with_prediction),
        without_prediction=_lead_time(one for one in reviews if not one.with_prediction),
        judged=len(held_out),
        doubts=_doubts(held_out),
    )


def overlap_counts(overlaps: Sequence[float]) -> list[int]:
    """How many fall into each interval of IOU_EDGES, the last one closed."""
    return [int(count) for count in np.histogram(overlaps, IOU_EDGES)[0]]


def _version(name: str, reviews: Sequence[Review]) -> VersionReport:
    total, edits, untouched = Tally(), [], 0
    by_label: dict[str, Tally] = {}
    for review in reviews:
        before = total.edits
        for label, outcome in _outcomes(review):
            for tally in (total, by_label.setdefault(label, Tally())):
                _count(tally, outcome)
        edits.append(total.edits - before)
        untouched += total.edits == before
    return VersionReport(
        name, len(reviews), untouched, fmean(edits), total, dict(sorted(by_label.items()))
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """kind: a field of Tally. overlap: of a changed box with its proposal."""

    kind: str
    overlap: float = 1.0
    relabelled: bool = False


def _outcomes(review: Review) -> Iterable[tuple[str, _Outcome]]:
    # The box decides, not the region's ``origin``: that is absent where Label Studio made
    # annotations from predictions, and stays "prediction-changed" after a change undone.
    accepted = {box.id: box for box in review.accepted}
    for box in review.proposed:
        after = accepted.get(box.id)
        if after is None:
            yield box.label, _Outcome("rejected")
            continue
        overlap = _iou(box, after)
        if after.label == box.label and overlap >= SAME_IOU:
            yield box.label, _Outcome("kept")
        else:
            yield box.label, _Outcome("changed", overlap, after.label != box.label)
    proposed = {box.id for box in review.proposed}
    for box in review.accepted:
        if box.id not in proposed:
            yield box.label, _Outcome("missed")


def _count(tally: Tally, outcome: _Outcome) -> None:
    setattr(tally, outcome.kind, getattr(tally, outcome.kind) + 1)
    if outcome.kind == "changed":
        tally.relabelled += outcome.relabelled
        tally.overlaps.append(outcome.overlap)


def _iou(first: ReviewedBox, second: ReviewedBox) -> float:
    pair = [np.array([box.xyxy_px], np.float32) for box in (first, second)]
    return float(likeness(pair[0], pair[1], first.size_hw)[0, 0])


def _lead_time(reviews: Iterable[Review]) -> LeadTime:
    times = [one.lead_time_s for one in reviews]
    told = [seconds for seconds in times if seconds is not None]
    return LeadTime(len(times), median(told) if told else None)


def _lead_dict(lead: LeadTime) -> dict[str, Any]:
    return {"pictures": lead.pictures, "median_s": lead.median_s}


def _doubts(held_out: Sequence[HeldOut]) -> tuple[HeldOut, ...]:
    counts: Counter[str] = Counter()
    for one in held_out:
        counts.update(hits=one.hits, extra=one.extra, missed=one.missed)
    whole = HeldOut(0, counts["hits"], counts["extra"], counts["missed"]).f1
    if whole < JUDGE_F1:
        return ()
    doubtful = [one for one in held_out if one.f1 <= DOUBT_SHARE * whole]
    return tuple(sorted(doubtful, key=lambda one: (one.f1, -(one.extra + one.missed), one.task_id)))

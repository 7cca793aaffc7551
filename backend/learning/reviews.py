"""Ledger entries as reviews: the prediction a person began with beside the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.labelstudio.labelspec import LabelSpec
from backend.labelstudio.regions import read_regions
from backend.learning.ledger import Entry, Shown
from backend.learning.report import Review, ReviewedBox


def reviews_of(entries: Iterable[Entry], spec: LabelSpec) -> list[Review]:
    """One review an annotation that was neither skipped nor cut, oldest first.

    Every annotator's annotation counts: each is work that a prediction may have saved.
    """
    kept = [entry for entry in entries if entry.whole and not entry.skipped]
    kept.sort(key=lambda entry: (entry.updated_us, entry.annotation_id))
    return [_review(entry, spec) for entry in kept]


def _review(entry: Entry, spec: LabelSpec) -> Review:
    shown = _begun_with(entry)
    return Review(
        task_id=entry.task_id,
        with_prediction=entry.parent is not None or shown is not None,
        version=None if shown is None else shown.model_version,
        proposed=() if shown is None else _boxes(shown.result, spec),
        accepted=_boxes(entry.result, spec),
        lead_time_s=entry.lead_time_s,
    )


def _begun_with(entry: Entry) -> Shown | None:
    """The prediction that the annotation was made from, if its boxes are known.

    Label Studio names no parent where the prediction had no region to take over; what was
    drawn there is what the prediction missed.
    """
    shown = entry.shown
    if shown is None or shown.prediction_id == entry.parent:
        return shown
    return shown if entry.parent is None and not shown.result else None


def _boxes(result: Sequence[Mapping[str, Any]], spec: LabelSpec) -> tuple[ReviewedBox, ...]:
    return tuple(
        ReviewedBox(f"{one.control} {one.id}", one.label, one.xyxy_px, one.size_hw)
        for one in read_regions(list(result), spec)
    )

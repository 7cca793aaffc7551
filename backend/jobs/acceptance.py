"""Counting what people did with a project's predictions, whenever its ledger is read anyway."""

from __future__ import annotations

from collections.abc import Iterable

import redis

from backend.labelstudio.labelspec import LabelSpec
from backend.learning.ledger import Entry
from backend.learning.report import VersionReport, build_report
from backend.learning.reviews import reviews_of
from backend.store.acceptance import Acceptance, AcceptanceStore, ProjectAcceptance


def note_acceptance(
    connection: redis.Redis,
    project_id: str,
    entries: Iterable[Entry],
    spec: LabelSpec,
    now_s: float,
) -> None:
    """Count anew and keep it for the page and /metrics.

    The whole ledger is counted, not each event: events come twice and out of order, and an
    annotation may be changed or deleted later.
    """
    report = build_report(0, reviews_of(entries, spec))
    counted = ProjectAcceptance(now_s, tuple(map(_acceptance, report.versions)))
    AcceptanceStore(connection).put(project_id, counted)


def _acceptance(one: VersionReport) -> Acceptance:
    total = one.total
    return Acceptance(
        version=one.version,
        pictures=one.pictures,
        untouched=one.untouched,
        kept=total.kept,
        changed=total.changed,
        rejected=total.rejected,
        missed=total.missed,
    )

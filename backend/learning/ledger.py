"""What people accepted, per project, kept current from events that may come in any order.

Webhooks are hints: they come twice, late, or never. Of two reports of one annotation the
newer ``updated_at`` counts, a deletion is final, and Label Studio's own list, read by the
sync, has the last word. Regions are kept as Label Studio sent them, less what no box or
choice needs: the labelling configuration by which they are read may change later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from backend.labelstudio.events import (
    AnnotationRecord,
    AnnotationsDeleted,
    AnnotationsSaved,
    Event,
    TaskRecord,
    TasksDeleted,
)
from backend.store.ledgers import AnnotationRow, Changes, LedgerRows, LedgerStore, TaskRow

MOST_REGIONS = 2000
"""Regions kept of one annotation; one with more is kept as one that cannot be read."""

MOST_DATA_CHARS = 64 * 1024
"""Longest value kept of a task's data, as JSON: addresses are shorter, embedded files not."""

_SCHEMA = 1
_SHAPES = ("rectangle", "polygon", "brush", "ellipse", "keypoint")
_LABELLED = tuple(f"{shape}labels" for shape in _SHAPES)
_ANSWERS = ("choices", "rating", "number")
_KINDS = frozenset((*_SHAPES, *_LABELLED, "labels", "videorectangle", *_ANSWERS))

MOST_VALUE_CHARS = 256 * 1024
"""Longest value kept of one region, as JSON: some painted masks are longer."""
_REGION_KEYS = (
    "id",
    "from_name",
    "to_name",
    "type",
    "origin",
    "score",
    "item_index",
    "original_width",
    "original_height",
    "image_rotation",
)
_GEOMETRY_KEYS = (
    *("x", "y", "width", "height", "rotation", "radiusX", "radiusY"),
    *("points", "closed", "format", "rle", "sequence", "framesCount", "duration"),
)
_VALUE_KEYS = (*_GEOMETRY_KEYS, *_LABELLED, "labels", *_ANSWERS)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Shown:
    """The prediction an annotation was made with. result: its regions, unparsed."""

    prediction_id: int
    model_version: str
    result: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One annotation of the ledger.

    data: the task's, as far as it is kept. result: regions, unparsed; ``whole`` is False
    where some had to be left out. shown: None where it is unknown. parent: id of the
    prediction it was made from. updated_us: microseconds since the epoch, 0 where unknown.
    """

    annotation_id: int
    task_id: int
    data: Mapping[str, Any]
    result: tuple[Mapping[str, Any], ...]
    whole: bool
    skipped: bool
    ground_truth: bool
    annotator: int | None
    parent: int | None
    lead_time_s: float | None
    updated_us: int
    shown: Shown | None


class Ledger:
    """The ledgers of all projects."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store

    def apply(self, event: Event) -> int:
        """Note what an event tells; returns how many accepted annotations it changed.

        One round trip. Events about anything else change nothing.
        """
        if event.project_id is None:
            return 0
        project_id = str(event.project_id)
        if isinstance(event, AnnotationsSaved):
            return self.note(project_id, event.annotations, event.tasks)
        if isinstance(event, AnnotationsDeleted) and event.annotation_ids:
            return self.store.bury(project_id, annotations=event.annotation_ids)
        if isinstance(event, TasksDeleted) and event.task_ids:
            return self.store.bury(project_id, tasks=event.task_ids)
        return 0

    def note(
        self,
        project_id: str,
        annotations: Iterable[AnnotationRecord],
        tasks: Iterable[TaskRecord],
        *,
        began_s: float | None = None,
    ) -> int:
        """Note annotations with their tasks; began_s as in ``LedgerStore.put``."""
        rows = [row for row in map(_annotation_row, annotations) if row is not None]
        known = {task.id: task for task in tasks}
        wanted = dict.fromkeys(row.task_id for row in rows)
        task_rows = [_task_row(known.get(task_id) or TaskRecord(task_id, {})) for task_id in wanted]
        return self.store.put(project_id, task_rows, rows, began_s=began_s) if rows else 0

    def entries(self, project_id: str) -> list[Entry]:
        """All annotations, skipped ones included, by ascending id."""
        return entries_of(self.store.read(project_id))

    def changes(self, project_id: str) -> Changes:
        """What a training would learn anew."""
        return self.store.changes(project_id)


def updated_us(updated_at: str) -> int:
    """Microseconds since the epoch of Label Studio's ``updated_at``; 0 where it is none."""
    try:
        moment = datetime.fromisoformat(updated_at.strip().replace("Z", "+00:00"))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    since = moment - _EPOCH
    return max(0, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def slim(result: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shapes and answers of a result, with what is needed to read them again."""
    kept = []
    for region in result:
        kind, value = region.get("type"), region.get("value")
        # Anybody may send it: a list, which no set can be asked for, is no kind either.
        if not isinstance(kind, str) or kind not in _KINDS or not isinstance(value, Mapping):
            continue
        slimmed = {key: region[key] for key in _REGION_KEYS if key in region}
        slimmed["value"] = {key: value[key] for key in _VALUE_KEYS if key in value}
        kept.append(slimmed)
    return kept


def _annotation_row(record: AnnotationRecord) -> AnnotationRow | None:
    if record.id is None or record.task_id is None:
        return None
    regions = slim(record.result)
    kept = [region for region in regions if not _too_long(region)][:MOST_REGIONS]
    text = _json(
        {
            "schema": _SCHEMA,
            "result": kept,
            "whole": len(kept) == len(regions),
            "skipped": record.skipped,
            "ground_truth": record.ground_truth,
            "annotator": record.completed_by,
            "parent": record.parent_prediction,
            "lead_time_s": record.lead_time_s,
            "updated_us": updated_us(record.updated_at),
        }
    )
    order = _order(record.updated_at, text, record.ground_truth)
    return AnnotationRow(
        record.id, record.task_id, order, not record.skipped, text, _shown_json(record)
    )


def _too_long(region: Mapping[str, Any]) -> bool:
    return len(_json(region["value"])) > MOST_VALUE_CHARS


def _shown_json(record: AnnotationRecord) -> bytes:
    if record.shown is None:
        return b""
    regions = slim(record.shown.result)
    if len(regions) > MOST_REGIONS or any(map(_too_long, regions)):
        return b""
    return _json([record.shown.id, record.shown.model_version, regions])


def _task_row(task: TaskRecord) -> TaskRow:
    kept = {key: value for key, value in task.data.items() if len(_json(value)) <= MOST_DATA_CHARS}
    text = _json(kept)
    # A report that has only the task's id never takes the place of one with its data.
    return TaskRow(task.id, _order(task.updated_at, text, bool(kept)), text)


def _order(updated_at: str, text: bytes, preferred: bool) -> str:
    """Text that is greater for the newer of two states; of two alike the same one every time."""
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    return f"{updated_us(updated_at):017d}{int(preferred)}{digest}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def entries_of(rows: LedgerRows) -> list[Entry]:
    """Rows of the store, read. Raises: ValueError, KeyError, TypeError."""
    data_of = {task_id: json.loads(text) for task_id, text in rows.data_of.items()}
    return [_entry(row, data_of.get(row.task_id, {})) for row in rows.annotations]


def _entry(row: AnnotationRow, data: Mapping[str, Any]) -> Entry:
    record = json.loads(row.record)
    shown = None
    if row.shown:
        prediction_id, model_version, result = json.loads(row.shown)
        shown = Shown(prediction_id, model_version, tuple(result))
    return Entry(
        annotation_id=row.annotation_id,
        task_id=row.task_id,
        data=data,
        result=tuple(record["result"]),
        whole=record["whole"],
        skipped=record["skipped"],
        ground_truth=record["ground_truth"],
        annotator=record["annotator"],
        parent=record["parent"],
        lead_time_s=record["lead_time_s"],
        updated_us=record["updated_us"],
        shown=shown,
    )

"""What Label Studio tells by webhook, as typed values.

Label Studio sends a webhook once, within a second, and forgets it: an event is a hint that
something changed, its API is the truth. So parsing is tolerant: what is missing or strange
in an event is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import RequestError

_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class ShownPrediction:
    """A prediction that an annotator had before him, as it was then; result is unparsed."""

    id: int
    model_version: str
    result: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class AnnotationRecord:
    """An annotation as the event carries it.

    id: None where the event lacks it. result: the regions, unparsed. parent_prediction: id
    of the prediction it was made from. skipped: the annotator passed the task by; its
    regions mean nothing. lead_time_s: how long it took. shown: the prediction that was on
    the screen, None where the event does not tell.
    """

    id: int | None
    task_id: int | None
    result: tuple[Mapping[str, Any], ...]
    skipped: bool
    ground_truth: bool
    parent_prediction: int | None
    completed_by: int | None
    updated_at: str
    lead_time_s: float | None = None
    shown: ShownPrediction | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as the event carries it; data is empty where the event has only the id."""

    id: int
    data: Mapping[str, Any]
    updated_at: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in Label Studio; an unknown action has only its name.

    project_id: None where the event lacks it.
    """

    action: str
    project_id: int | None


@dataclass(frozen=True, slots=True)
class AnnotationsSaved(Event):
    """ANNOTATION_CREATED, ANNOTATION_UPDATED, ANNOTATIONS_CREATED."""

    annotations: tuple[AnnotationRecord, ...]
    tasks: tuple[TaskRecord, ...]


@dataclass(frozen=True, slots=True)
class AnnotationsDeleted(Event):
    """ANNOTATIONS_DELETED: all that is told are ids."""

    annotation_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TasksCreated(Event):
    """TASKS_CREATED."""

    tasks: tuple[TaskRecord, ...]


@dataclass(frozen=True, slots=True)
class TasksDeleted(Event):
    """TASKS_DELETED."""

    task_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProjectUpdated(Event):
    """PROJECT_UPDATED, as after an edit of the labelling configuration; "" where not sent."""

    label_config: str


@dataclass(frozen=True, slots=True)
class StartTraining(Event):
    """START_TRAINING: a person, or the n-th annotation, asks for training."""

    label_config: str


def parse_event(payload: Any) -> Event:
    """The event in a webhook's JSON.

    Never fails on a JSON object: without an action it has the action "".
    Raises: RequestError for anything but an object.
    """
    if not isinstance(payload, Mapping):
        raise RequestError(
            "A webhook's body is a JSON object.", 'Send {"action": "…", "project": {…}}.'
        )
    action = _text(payload.get("action"))
    project = payload.get("project")
    project_id = _id(project.get("id")) if isinstance(project, Mapping) else _id(project)
    label_config = _text(project.get("label_config")) if isinstance(project, Mapping) else ""
    if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
        # Lists in the plural action, objects in the others.
        tasks = _tasks(payload.get("task"))
        alone = tasks[0].id if len(tasks) == 1 else None
        records = [read_annotation(item, alone) for item in _objects(payload.get("annotation"))]
        return AnnotationsSaved(action, project_id, tuple(records), tasks)
    if action == "ANNOTATIONS_DELETED":
        return AnnotationsDeleted(action, project_id, _ids(payload.get("annotations")))
    if action == "TASKS_CREATED":
        return TasksCreated(action, project_id, _tasks(payload.get("tasks")))
    if action == "TASKS_DELETED":
        return TasksDeleted(action, project_id, _ids(payload.get("tasks")))
    if action == "PROJECT_UPDATED":
        return ProjectUpdated(action, project_id, label_config)
    if action == "START_TRAINING":
        return StartTraining(action, project_id, label_config)
    return Event(action, project_id)


def read_annotation(
    item: Mapping[str, Any],
    only_task_id: int | None = None,
    predictions: Sequence[Mapping[str, Any]] = (),
) -> AnnotationRecord:
    """An annotation's JSON, of a webhook or of the API.

    only_task_id: of the task it belongs to where it does not say. predictions: those of the
    task, among which the API's annotation, unlike a webhook's, names only its parent.
    """
    task_id = _id(item.get("task"))
    parent = _id(item.get("parent_prediction"))
    shown = _shown(item.get("prediction"))
    if parent is not None and (shown is None or shown.id != parent):
        # The snapshot is the first of the version in use, not always the one begun with.
        shown = next((_shown(p) for p in predictions if _id(p.get("id")) == parent), None)
    return AnnotationRecord(
        id=_id(item.get("id")),
        task_id=only_task_id if task_id is None else task_id,
        result=tuple(_objects(item.get("result"))),
        skipped=item.get("was_cancelled") is True,
        ground_truth=item.get("ground_truth") is True,
        parent_prediction=parent,
        completed_by=_id(item.get("completed_by")),
        updated_at=_text(item.get("updated_at")),
        lead_time_s=_seconds(item.get("lead_time")),
        shown=shown,
    )


def _shown(value: Any) -> ShownPrediction | None:
    # Label Studio sends {} for none, and in events about several annotations.
    if not isinstance(value, Mapping) or (number := _id(value.get("id"))) is None:
        return None
    if not isinstance(value.get("result"), list):
        return None
    return ShownPrediction(
        number, _text(value.get("model_version")), tuple(_objects(value["result"]))
    )


def _tasks(value: Any) -> tuple[TaskRecord, ...]:
    found: list[TaskRecord] = []
    for item in _objects(value):
        task_id, data = _id(item.get("id")), item.get("data")
        if task_id is not None:
            known = data if isinstance(data, Mapping) else {}
            found.append(TaskRecord(task_id, known, _text(item.get("updated_at"))))
    return tuple(found)


def _ids(value: Any) -> tuple[int, ...]:
    ids = (_id(item.get("id")) for item in _objects(value))
    return tuple(found for found in ids if found is not None)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]


def _id(value: Any) -> int | None:
    """A database id: a whole number from 0, as number or digits ("1.1795224262" begins with 1)."""
    if isinstance(value, str):
        head = value.partition(".")[0]
        return int(head) if head.isascii() and head.isdecimal() and len(head) < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _LONGEST_S else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

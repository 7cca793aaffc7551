"""What Label Studio's API answers, read into typed values.

The readers raise LabelStudioError where an answer is of another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain import Task
from backend.errors import LabelStudioError
from backend.labelstudio.events import AnnotationRecord, TaskRecord, read_annotation


@dataclass(frozen=True, slots=True)
class User:
    id: int
    email: str


@dataclass(frozen=True, slots=True)
class Project:
    """model_version: title of the live backend, or a version whose predictions are shown.

    evaluates_automatically: opening the data manager asks the backend for every task on
    the page that has no prediction.
    """

    id: int
    title: str
    label_config: str
    model_version: str
    task_number: int
    evaluates_automatically: bool


@dataclass(frozen=True, slots=True)
class MlBackend:
    """state: CO connected, DI disconnected, ER error, TR training."""

    id: int
    url: str
    title: str
    state: str
    model_version: str
    is_interactive: bool


@dataclass(frozen=True, slots=True)
class Webhook:
    """actions: those sent where not all are."""

    id: int
    url: str
    is_active: bool
    all_actions: bool
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnnotatedTask:
    """A task with all its annotations."""

    task: TaskRecord
    annotations: tuple[AnnotationRecord, ...]


def read_ml_backend(entry: Mapping[str, Any]) -> MlBackend:
    return MlBackend(
        id=whole_of(entry.get("id")),
        url=text_of(entry.get("url")),
        title=text_of(entry.get("title")),
        state=text_of(entry.get("state")),
        model_version=text_of(entry.get("model_version")),
        is_interactive=entry.get("is_interactive") is True,
    )


def read_webhook(entry: Mapping[str, Any]) -> Webhook:
    return Webhook(
        id=whole_of(entry.get("id")),
        url=text_of(entry.get("url")),
        is_active=entry.get("is_active") is True,
        all_actions=entry.get("send_for_all_actions") is True,
        actions=tuple(str(action) for action in list_of(entry.get("actions"))),
    )


def read_project(answer: Any) -> Project:
    entry = object_of(answer)
    return Project(
        id=whole_of(entry.get("id")),
        title=text_of(entry.get("title")),
        label_config=text_of(entry.get("label_config")),
        model_version=text_of(entry.get("model_version")),
        task_number=whole_of(entry.get("task_number") or 0),
        evaluates_automatically=entry.get("evaluate_predictions_automatically") is True,
    )


def read_task(answer: Any) -> Task:
    entry = object_of(answer)
    return Task(whole_of(entry.get("id")), object_of(entry.get("data")))


def read_annotated_task(entry: Mapping[str, Any]) -> AnnotatedTask:
    task_id = whole_of(entry.get("id"))
    predictions = [object_of(item) for item in list_of(entry.get("predictions") or [])]
    rows = [object_of(item) for item in list_of(entry.get("annotations") or [])]
    data, updated_at = object_of(entry.get("data")), text_of(entry.get("updated_at"))
    return AnnotatedTask(
        TaskRecord(task_id, data, updated_at),
        tuple(read_annotation(row, task_id, predictions) for row in rows),
    )


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def object_of(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _strange("an object", value)


def list_of(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _strange("a list", value)


def whole_of(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _strange("a whole number", value)


def _strange(wanted: str, value: Any) -> LabelStudioError:
    return LabelStudioError(
        f"Label Studio answered {type(value).__name__} where {wanted} was expected.",
        "Check LABEL_STUDIO_URL; the backend is made for Label Studio 1.23.",
    )

"""A Label Studio with one project that people work on, as far as a soak run asks it.

It keeps what 1.23.2 was seen to do: a reply or a bulk import is stored as it comes, a second
time as readily as the first, and a webhook is sent once. What is stored twice is counted.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from backend.evaluation.loopback_server import LoopbackServer, QuietHandler

KEY = "0" * 40
"""The key that the backend gives."""

_PAGE_MOST = 1000

Rule = Mapping[str, Any]


@dataclass
class _Task:
    """A task with what was stored of it. touched: greater for what changed later."""

    id: int
    image: str
    touched: int
    predictions: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def versions(self) -> Counter[str]:
        """Number of predictions of each version."""
        return Counter(one["model_version"] for one in self.predictions)


class WorkedProject(LoopbackServer):
    """Project 1 on a loopback port; a context manager. label_config: of the project."""

    def __init__(self, label_config: str) -> None:
        self.label_config = label_config
        self.is_down = False
        self.forgetful = 0
        """So many of the next imports are stored, and their answers lost."""
        self._tasks: dict[int, _Task] = {}
        self._model_version = ""
        self.twice: list[str] = []
        """Each prediction beyond the first of a task and version, in words."""
        self._stored: dict[tuple[int, str], tuple[str, float]] = {}
        self._ids, self._ticks = itertools.count(1), itertools.count(1)
        self._lock = threading.RLock()
        project = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802 - named by http.server
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                self._reply(project._got(parts.path.rstrip("/"), query))

            def do_POST(self) -> None:  # noqa: N802 - named by http.server
                predictions = self._body()
                for one in predictions:
                    project.store(one["task"], one, by="import")
                if project.forgetful:
                    project.forgetful -= 1
                    self.close_connection = True
                    return
                self._reply({"created": len(predictions)})

            def do_PATCH(self) -> None:  # noqa: N802 - named by http.server
                project._model_version = self._body()["model_version"]
                self._reply(project._about())

            def _body(self) -> Any:
                return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def _reply(self, value: Any) -> None:
                if value is None:
                    self.send_error(404)
                else:
                    self.reply(json.dumps(value).encode(), "application/json")

        super().__init__(Handler)

    # ---- what people do in it

    def add_tasks(self, images: Iterable[str]) -> list[int]:
        """New tasks; their ids."""
        with self._lock:
            first = len(self._tasks) + 1
            made = {id: _Task(id, one, next(self._ticks)) for id, one in enumerate(images, first)}
            self._tasks |= made
            return list(made)

    def data(self, task_id: int) -> dict[str, Any]:
        """What /predict is told of a task."""
        return {"id": task_id, "data": {"image": self._tasks[task_id].image}}

    def image(self, task_id: int) -> str:
        """Address of a task's picture."""
        return self._tasks[task_id].image

    def store(self, task_id: int, prediction: Mapping[str, Any], by: str = "reply") -> None:
        """Store a prediction, of an import or of a reply."""
        with self._lock:
            version = str(prediction["model_version"])
            now_s = time.monotonic()
            before_by, before_s = self._stored.setdefault((task_id, version), (by, now_s))
            if self._tasks[task_id].versions[version]:
                gap_s = now_s - before_s
                told = f"task {task_id}, {version}: {by} {gap_s:.1f} s after {before_by}"
                self.twice.append(told)
            kept = {name: prediction.get(name) for name in ("result", "score", "model_version")}
            kept |= {"id": next(self._ids), "task": task_id, "project": 1}
            self._tasks[task_id].predictions.append(kept)

    def prediction_of(self, task_id: int) -> dict[str, Any] | None:
        """The prediction that was stored last."""
        with self._lock:
            found = self._tasks[task_id].predictions
            return found[-1] if found else None

    def annotate(self, task_id: int, result: list[dict[str, Any]], user: int) -> dict[str, Any]:
        """Submit an annotation; the webhook's payload."""
        with self._lock:
            shown = self.prediction_of(task_id)
            annotation = {
                "id": next(self._ids),
                "task": task_id,
                "project": 1,
                "result": result,
                "was_cancelled": False,
                "ground_truth": False,
                "completed_by": user,
                "lead_time": 3.0,
                "parent_prediction": None if shown is None else shown["id"],
            }
            return self._saved("ANNOTATION_CREATED", annotation)

    def correct(self, task_id: int, annotation_id: int, result: list[Any]) -> dict[str, Any]:
        """Change an annotation; the webhook's payload."""
        with self._lock:
            before = self._tasks[task_id].annotations[annotation_id]
            return self._saved("ANNOTATION_UPDATED", before | {"result": result})

    def delete(self, task_id: int, annotation_id: int) -> dict[str, Any]:
        """Delete an annotation; the webhook's payload."""
        with self._lock:
            task = self._tasks[task_id]
            del task.annotations[annotation_id]
            task.touched = next(self._ticks)
        gone = [{"id": annotation_id}]
        return {"action": "ANNOTATIONS_DELETED", "annotations": gone, "project": {"id": 1}}

    # ---- what the books are compared with

    def unpredicted(self) -> set[int]:
        """Tasks without any prediction."""
        with self._lock:
            return {task.id for task in self._tasks.values() if not task.predictions}

    def annotations(self) -> dict[int, str]:
        """Of each annotation when it was changed last."""
        with self._lock:
            return {
                number: one["updated_at"]
                for task in self._tasks.values()
                for number, one in task.annotations.items()
            }

    # ---- faults

    def go_down(self) -> None:
        """Be stopped; whatever is under way is cut."""
        self.is_down = True
        super().go_down()

    def come_up(self) -> None:
        """Be started again."""
        super().come_up()
        self.is_down = False

    # ---- its API

    def _saved(self, action: str, annotation: dict[str, Any]) -> dict[str, Any]:
        task = self._tasks[annotation["task"]]
        task.touched = next(self._ticks)
        annotation = annotation | {"updated_at": _moment(task.touched)}
        task.annotations[annotation["id"]] = annotation
        begun_with = (p for p in task.predictions if p["id"] == annotation["parent_prediction"])
        # A webhook shows the prediction, the API does not.
        return {
            "action": action,
            "annotation": annotation | {"prediction": next(begun_with, {})},
            "task": _view(task, whole=False),
            "project": {"id": 1},
        }

    def _got(self, path: str, query: Mapping[str, str]) -> Any:
        name = path.removeprefix("/api/")
        with self._lock:
            if name == "tasks":
                return self._page(query)
            if name == "projects/1":
                return self._about()
            if name == "projects/1/model-versions":
                return Counter(v for task in self._tasks.values() for v in task.versions.elements())
            if name == "ml":
                return []
            number = name.removeprefix("tasks/")
            task = self._tasks.get(int(number)) if number.isdecimal() else None
            return None if task is None else _view(task, whole=True)

    def _about(self) -> dict[str, Any]:
        return {
            "id": 1,
            "title": "worked on",
            "label_config": self.label_config,
            "model_version": self._model_version,
            "created_at": _moment(0),
        }

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The data manager's list: the first tasks that pass all filters."""
        wanted = json.loads(query["query"])
        passes = [_filter(rule) for rule in wanted["filters"]["items"]]
        found = [task for task in self._tasks.values() if all(one(task) for one in passes)]
        if wanted["ordering"] == ["-tasks:updated_at"]:
            found.sort(key=lambda task: -task.touched)
        shown = found[: min(int(query["page_size"]), _PAGE_MOST)]
        whole = query.get("fields") == "all"
        return {
            "total": len(found),
            "total_annotations": sum(len(task.annotations) for task in found),
            "tasks": [_view(task, whole=whole) for task in shown],
        }


def _view(task: _Task, *, whole: bool) -> dict[str, Any]:
    view = {
        "id": task.id,
        "project": 1,
        "data": {"image": task.image},
        "updated_at": _moment(task.touched),
        "total_predictions": len(task.predictions),
        "predictions_model_versions": ",".join(sorted(task.versions)),
    }
    if whole:
        view["predictions"] = task.predictions
        view["annotations"] = list(task.annotations.values())
    return view


def _filter(rule: Rule) -> Callable[[_Task], bool]:
    column, value = rule["filter"].rpartition(":")[2], rule["value"]
    match column, rule["operator"]:
        case "id", "greater":
            return lambda task: task.id > value
        case "id", "in_list":
            among = frozenset(value)
            return lambda task: task.id in among
        case "predictions_model_versions", "contains":
            return lambda task: any(one in task.versions for one in value)
        case "predictions_model_versions", "not_contains":
            return lambda task: not any(one in task.versions for one in value)
        case "total_predictions", "equal":
            return lambda task: len(task.predictions) == value
        case "total_annotations", "equal":
            return lambda task: len(task.annotations) == value
        case "total_annotations", "greater":
            return lambda task: len(task.annotations) > value
        case "cancelled_annotations", "greater":
            return lambda task: False
    raise ValueError(f"the data manager of a soak run knows no filter {rule}")


def _moment(tick: int) -> str:
    """A time that grows with the tick."""
    hours, rest = divmod(tick, 3600)
    return (
        f"2026-01-{1 + hours // 24:02d}T{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}.000000Z"
    )

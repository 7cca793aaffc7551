"""A small honest Label Studio for tests: the rules of its HTTP API, without the rest.

It keeps what version 1.23.2 was seen to do: a bulk import answers 400 for the whole batch
when one task is unknown, silently drops regions its validator refuses and tells only the
number it created, and stores a duplicate as readily as an original. Failures come on
command, before or after storing.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"
VERSION = "1.23.2"

Failure = Literal["500_before", "500_after", "dropped_before", "dropped_after", "401", "403"]


@dataclass
class LabelStudioStandin:
    """State and switches; ``running()`` gives one that listens on a free loopback port."""

    api_key: str = LEGACY_KEY
    url: str = ""
    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[int, dict[str, Any]] = field(default_factory=dict)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    backends: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)
    """Uploaded files by path, served to callers with a key."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every call so far."""
    import_failures: deque[Failure] = field(default_factory=deque)
    """What the next bulk imports do instead of working, oldest first."""
    refused_labels: set[str] = field(default_factory=set)
    """Labels whose predictions a bulk import drops, as those the configuration lacks."""
    page_size_max: int = 1000
    shows_live: bool = False
    """Whether projects show a live backend: webhooks then carry no prediction."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: int = 0
    _ticks: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header its key makes."""
        return {"Authorization": f"Token {self.api_key}"}

    def start(self) -> None:
        """Listen on the port of before, or on a free one."""
        port = urlsplit(self.url).port or 0
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no longer: the next connection is refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def add_project(self, label_config: str, project_id: int = 1, **fields: Any) -> int:
        """A project with this labelling configuration."""
        self.projects[project_id] = {
            "id": project_id,
            "title": f"project {project_id}",
            "label_config": label_config,
            "model_version": "",
            "created_at": "2026-01-01T00:00:00.000000Z",
        } | fields
        return project_id

    def add_tasks(self, data: Sequence[Mapping[str, Any]], project_id: int = 1) -> list[int]:
        """One task for each ``data`` object; their ids."""
        with self.lock:
            first = max(self.tasks, default=0) + 1
            for offset, item in enumerate(data):
                task_id = first + offset
                self.tasks[task_id] = {"id": task_id, "project": project_id, "data": dict(item)}
            return list(range(first, first + len(data)))

    def annotate(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        parent: int | None = None,
        skipped: bool = False,
        **fields: Any,
    ) -> dict[str, Any]:
        """An annotation as a person submits it; returns the webhook's event."""
        with self.lock:
            number = self._next_id()
            row = {
                "id": number,
                "task": task_id,
                "project": self.tasks[task_id]["project"],
                "result": [dict(region) for region in result],
                "was_cancelled": skipped,
                "ground_truth": False,
                "parent_prediction": parent,
                "completed_by": 1,
                "lead_time": 4.5,
            } | fields
            self.annotations[number] = row
            return self._changed(row, "ANNOTATION_CREATED")

    def change_annotation(self, number: int, **fields: Any) -> dict[str, Any]:
        """An annotation changed by a person; returns the webhook's event."""
        with self.lock:
            self.annotations[number] |= fields
            return self._changed(self.annotations[number], "ANNOTATION_UPDATED")

    def delete_annotation(self, number: int) -> dict[str, Any]:
        """An annotation deleted by a person; returns the webhook's event."""
        with self.lock:
            row = self.annotations.pop(number)
            self.tasks[row["task"]]["updated_at"] = self._tick()
            project = self.projects[row["project"]]
            return {
                "action": "ANNOTATIONS_DELETED",
                "annotations": [{"id": number}],
                "project": project,
            }

    def _changed(self, row: dict[str, Any], action: str) -> dict[str, Any]:
        row["updated_at"] = self.tasks[row["task"]]["updated_at"] = self._tick()
        snapshot: Mapping[str, Any] = {}
        if not self.shows_live:
            begun_with = (p for p in self.predictions if p["id"] == row["parent_prediction"])
            snapshot = next(begun_with, {})
        return {
            "action": action,
            "annotation": dict(row) | {"prediction": snapshot},
            "task": dict(self.tasks[row["task"]]),
            "project": self.projects[row["project"]],
        }

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _tick(self) -> str:
        # Label Studio tells microseconds; here every change takes one.
        self._ticks += 1
        return f"2026-01-01T00:00:{self._ticks // 1_000_000:02d}.{self._ticks % 1_000_000:06d}Z"

    def delete_task(self, task_id: int) -> None:
        """What a person does in the data manager while predictions are on their way."""
        with self.lock:
            del self.tasks[task_id]
            self.predictions = [p for p in self.predictions if p["task"] != task_id]
            self.annotations = {n: a for n, a in self.annotations.items() if a["task"] != task_id}

    def patch(self, project_id: int, fields: Mapping[str, Any]) -> tuple[int, Any]:
        """``PATCH /api/projects/{id}/``: status and reply."""
        with self.lock:
            shown = fields.get("model_version", "")
            live = {row["title"] for row in self.backends if row.get("project") == project_id}
            static = {p["model_version"] for p in self.predictions if p["project"] == project_id}
            if shown and shown not in live | static:
                return 400, {"model_version": ["doesn't exist either as live model or as static"]}
            self.projects[project_id] |= fields
            return 200, self.projects[project_id]

    def drop_version(self, project_id: int, version: str) -> int:
        """``DELETE /api/projects/{id}/model-versions/``: how many predictions are gone."""
        with self.lock:
            kept = [
                p
                for p in self.predictions
                if p["project"] != project_id or p["model_version"] != version
            ]
            gone, self.predictions = len(self.predictions) - len(kept), kept
            titles = {row["title"] for row in self.backends if row.get("project") == project_id}
            if self.projects[project_id]["model_version"] in titles:
                self.projects[project_id]["model_version"] = None  # seen, whichever is deleted
            return gone

    def stored(self, model_version: str | None = None) -> list[int]:
        """Task ids of the stored predictions (of one version), in order, with duplicates."""
        with self.lock:
            return [
                p["task"]
                for p in self.predictions
                if model_version is None or p["model_version"] == model_version
            ]

    def store(self, task_id: int, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Store one prediction, whether or not there is one already."""
        with self.lock:
            row = {
                "id": len(self.predictions) + 1,
                "task": task_id,
                "project": self.tasks[task_id]["project"],
                "result": prediction.get("result", []),
                "score": prediction.get("score"),
                "model_version": prediction.get("model_version", "undefined"),
            }
            self.predictions.append(row)
            return row

    def imports(self, project_id: int, body: Sequence[Mapping[str, Any]]) -> tuple[int, Any]:
        """``POST /api/projects/{id}/import/predictions``: status and reply."""
        with self.lock:
            for item in body:
                task = self.tasks.get(item.get("task", -1))
                if task is None or task["project"] != project_id:
                    problem = f'{item} contains invalid "task" field'
                    return 400, {"status_code": 400, "detail": [problem]}
            accepted = [item for item in body if not self._refused(item)]
            for item in accepted:
                self.store(item["task"], item)
            return 201, {"created": len(accepted)}

    def _refused(self, prediction: Mapping[str, Any]) -> bool:
        score = prediction.get("score")
        if isinstance(score, (int, float)) and not 0 <= score <= 1:
            return True
        return any(
            isinstance(name, str) and name in self.refused_labels
            for region in prediction.get("result", [])
            for names in region.get("value", {}).values()
            if isinstance(names, list)
            for name in names
        )

    def passes(self, task_id: int, rule: Mapping[str, Any]) -> bool:
        """Whether a task passes one filter of the data manager."""
        column, value = rule["filter"].rsplit(":", 1)[1], rule["value"]
        versions = {p["model_version"] for p in self.predictions if p["task"] == task_id}
        # The data manager compares parts of the joined text, not whole versions.
        shown = ",".join(sorted(versions))
        named = isinstance(value, list) and any(str(part) in shown for part in value)
        match (column, rule["operator"]):
            case ("id", "greater"):
                return bool(task_id > value)
            case ("total_predictions", "equal"):
                return bool(sum(p["task"] == task_id for p in self.predictions) == value)
            case ("total_annotations" | "cancelled_annotations", "equal" | "greater"):
                skipped = column == "cancelled_annotations"
                own = [a for a in self.annotations.values() if a["task"] == task_id]
                count = sum(a["was_cancelled"] is skipped for a in own)
                return bool(count == value if rule["operator"] == "equal" else count > value)
            case ("id", "in_list"):
                return task_id in value
            case ("predictions_model_versions", "contains"):
                return named
            case ("predictions_model_versions", "not_contains"):
                return not named
        raise ValueError(f"the stand-in knows no filter {rule}")

    def task_view(self, task_id: int, *, with_predictions: bool) -> dict[str, Any]:
        """A task as the API shows it."""
        own = [p for p in self.predictions if p["task"] == task_id]
        view = dict(self.tasks[task_id]) | {"total_predictions": len(own), "meta": {}}
        if with_predictions:
            view["predictions"] = own
            # The API shows no snapshot of the prediction, a webhook does.
            view["annotations"] = [a for a in self.annotations.values() if a["task"] == task_id]
        view["predictions_model_versions"] = ",".join(sorted({p["model_version"] for p in own}))
        return view


@contextmanager
def running(**fields: Any) -> Iterator[LabelStudioStandin]:
    """A stand-in that listens until the block ends."""
    standin = LabelStudioStandin(**fields)
    standin.start()
    try:
        yield standin
    finally:
        standin.stop()


def personal_access_token() -> str:
    """A token of the newer kind: a JWT whose payload says it is for refreshing."""

    def part(value: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    payload = {"token_type": "refresh", "exp": 4102444800}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(payload)}.c2lnbmF0dXJl"


def _handler(standin: LabelStudioStandin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_PATCH(self) -> None:
            self._serve("PATCH")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

        def log_message(self, format: str, *args: Any) -> None:
            """Tests keep their output quiet."""

        def _serve(self, method: str) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with standin.lock:
                standin.calls.append((method, parts.path))
            if parts.path == "/health":
                return self._reply(200, {"status": "UP"})
            if parts.path.rstrip("/") == "/api/version":
                return self._reply(
                    200, {"release": VERSION, "label-studio-os-package": {"version": VERSION}}
                )
            if parts.path.rstrip("/") == "/api/token/refresh":
                if (body or {}).get("refresh") != standin.api_key:
                    return self._reply(401, {"detail": "Token is invalid or expired"})
                return self._reply(200, {"access": f"access-{standin.api_key[-8:]}"})
            if not self._authorized():
                return self._reply(401, {"detail": "Invalid token."})
            return self._route(method, parts.path, query, body)

        def _authorized(self) -> bool:
            given = self.headers.get("Authorization", "")
            if standin.api_key.count(".") == 2:
                return given == f"Bearer access-{standin.api_key[-8:]}"
            return given == f"Token {standin.api_key}"

        def _route(self, method: str, path: str, query: dict[str, str], body: Any) -> None:
            if path in standin.media:
                return self._bytes(200, standin.media[path], "application/octet-stream")
            if found := re.fullmatch(r"/api/projects/(\d+)/import/predictions/?", path):
                return self._import(int(found[1]), body)
            if found := re.fullmatch(r"/api/projects/(\d+)/model-versions/?", path):
                return self._model_versions(method, int(found[1]), body)
            if (found := re.fullmatch(r"/api/projects/(\d+)/?", path)) and method == "PATCH":
                return self._reply(*standin.patch(int(found[1]), body))
            if found := re.fullmatch(r"/api/projects/(\d+)/?", path):
                return self._one(standin.projects.get(int(found[1])))
            if found := re.fullmatch(r"/api/tasks/(\d+)/?", path):
                known = int(found[1]) in standin.tasks
                view = standin.task_view(int(found[1]), with_predictions=True) if known else None
                return self._one(view)
            if path.rstrip("/") == "/api/tasks":
                return self._task_page(query)
            if path.rstrip("/") == "/api/projects":
                rows = list(standin.projects.values())
                return self._reply(200, {"count": len(rows), "results": rows})
            if path.rstrip("/") == "/api/predictions":
                return self._predictions(method, query, body)
            lists = {"/api/webhooks": standin.webhooks, "/api/ml": standin.backends}
            if (rows_of := lists.get(path.rstrip("/"))) is not None:
                wanted = int(query.get("project", 0))
                rows = [row for row in rows_of if not wanted or row.get("project") == wanted]
                return self._reply(200, rows)
            if path.rstrip("/") == "/api/current-user/whoami":
                return self._reply(200, {"id": 1, "email": "someone@example.com"})
            return self._reply(404, {"detail": "Not found."})

        def _import(self, project_id: int, body: Any) -> None:
            with standin.lock:
                failure = standin.import_failures.popleft() if standin.import_failures else None
            if failure in ("401", "403"):
                return self._reply(int(failure), {"detail": "refused on command"})
            if failure == "500_before":
                return self._reply(500, {"detail": "failed on command"})
            if failure == "dropped_before":
                return self._drop()
            if project_id not in standin.projects:
                return self._reply(404, {"detail": "Not found."})
            if not isinstance(body, list):
                return self._reply(500, {"detail": "a list is expected"})
            status, reply = standin.imports(project_id, body)
            if failure == "500_after":
                return self._reply(500, {"detail": "failed on command"})
            if failure == "dropped_after":
                return self._drop()
            return self._reply(status, reply)

        def _model_versions(self, method: str, project_id: int, body: Any) -> None:
            if method == "DELETE":
                gone = standin.drop_version(project_id, body["model_version"])
                return self._reply(200, {"deleted_predictions": gone})
            with standin.lock:
                rows = [p["model_version"] for p in standin.predictions]
            return self._reply(200, dict(Counter(rows)))

        def _task_page(self, query: dict[str, str]) -> None:
            project_id = int(query.get("project", 0))
            if project_id not in standin.projects:
                return self._reply(404, {"detail": "Not found."})
            with standin.lock:
                ids = sorted(i for i, t in standin.tasks.items() if t["project"] == project_id)
                wanted = json.loads(query.get("query") or "{}")
                for rule in wanted.get("filters", {}).get("items", []):
                    ids = [i for i in ids if standin.passes(i, rule)]
                if wanted.get("ordering") == ["-tasks:updated_at"]:
                    ids.sort(key=lambda i: standin.tasks[i].get("updated_at", ""), reverse=True)
                size = min(int(query.get("page_size", 100)), standin.page_size_max)
                page = int(query.get("page", 1))
                if page < 1 or (page > 1 and (page - 1) * size >= len(ids)):
                    return self._reply(404, {"detail": "Invalid page."})
                shown = ids[(page - 1) * size : page * size]
                full = query.get("fields") == "all"
                reply = {
                    "total": len(ids),
                    "total_annotations": sum(
                        not a["was_cancelled"] and a["task"] in ids
                        for a in standin.annotations.values()
                    ),
                    "total_predictions": len(standin.predictions),
                    "tasks": [standin.task_view(i, with_predictions=full) for i in shown],
                }
            return self._reply(200, reply)

        def _predictions(self, method: str, query: dict[str, str], body: Any) -> None:
            if method == "POST":
                return self._reply(201, standin.store(body["task"], body))
            task, project = int(query.get("task", 0)), int(query.get("project", 0))
            project = project or int(query.get("task__project", 0))
            with standin.lock:
                rows = [
                    p
                    for p in standin.predictions
                    if (not task or p["task"] == task) and (not project or p["project"] == project)
                ]
            return self._reply(200, rows)

        def _one(self, found: dict[str, Any] | None) -> None:
            if found is None:
                return self._reply(404, {"detail": "Not found."})
            return self._reply(200, found)

        def _reply(self, status: int, value: Any) -> None:
            self._bytes(status, json.dumps(value).encode(), "application/json")

        def _bytes(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _drop(self) -> None:
            # The caller sees the connection end without an answer.
            self.close_connection = True
            self.connection.shutdown(2)

    return Handler

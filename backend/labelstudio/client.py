"""Label Studio's API, as far as the backend uses it, in typed values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from backend.domain import Task
from backend.errors import LabelStudioAuth
from backend.labelstudio.api_values import (
    AnnotatedTask,
    MlBackend,
    Project,
    User,
    Webhook,
    list_of,
    object_of,
    read_annotated_task,
    read_ml_backend,
    read_project,
    read_task,
    read_webhook,
    text_of,
    whole_of,
)
from backend.labelstudio.tokens import TokenSource
from backend.labelstudio.transport import open_client, read_json, send

_IDS_A_CALL = 200
"""Task ids in one query: they travel in the address, which proxies cut at 4 to 8 KB."""

_COLUMN_CHARS = 400
"""From here a column of the data manager may be cut: after 500 characters, quotes counted."""


class LabelStudioClient:
    """Calls to one Label Studio with one key; safe to share between threads.

    base_url: with the path of a sub-path installation. Nothing is repeated but a call whose
    access token had run out; retries are the caller's business.
    Every method raises LabelStudioAuth, LabelStudioUnreachable (whose ``maybe_done`` says
    whether the call may have been carried out all the same) or LabelStudioError.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        timeout_s: float,
        *,
        tokens: TokenSource | None = None,
    ) -> None:
        self.tokens = tokens or TokenSource(base_url, api_key, timeout_s)
        self._http = open_client(base_url.rstrip("/"), timeout_s)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> LabelStudioClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def version(self) -> str:
        """Label Studio's release, as "1.23.2". Needs no key."""
        answer = read_json(send(self._http, self._http.build_request("GET", "api/version")))
        return str(object_of(answer).get("release", ""))

    def whoami(self) -> User:
        """Whose key it is."""
        answer = object_of(self._call("GET", "api/current-user/whoami"))
        return User(whole_of(answer.get("id")), str(answer.get("email", "")))

    def project(self, project_id: int) -> Project:
        return read_project(self._call("GET", f"api/projects/{project_id}/"))

    def project_ids(self) -> list[int]:
        """All projects the key may see, ascending."""
        ids: list[int] = []
        page = 1
        while True:
            query: dict[str, Any] = {"page": page, "page_size": 100}
            answer = object_of(self._call("GET", "api/projects/", query))
            ids += [
                whole_of(object_of(entry).get("id")) for entry in list_of(answer.get("results"))
            ]
            if not answer.get("next"):
                return sorted(set(ids))
            page += 1

    def patch_project(self, project_id: int, fields: Mapping[str, Any]) -> Project:
        """Change some fields of a project; returns it as it is then."""
        return read_project(self._call("PATCH", f"api/projects/{project_id}/", json=dict(fields)))

    def task(self, task_id: int, *, resolve_uri: bool = False) -> Task:
        """One task; resolve_uri replaces s3:// and the like by Label Studio's own addresses.

        Label Studio asks the connected backend for a prediction during this call if the
        task has none: never wait for it in a worker that would have to answer.
        """
        query = {"resolve_uri": _flag(resolve_uri)}
        return read_task(self._call("GET", f"api/tasks/{task_id}/", query))

    def tasks_lacking_version(
        self,
        project_id: int,
        model_version: str,
        *,
        page_size: int = 250,
        after_id: int = 0,
        unpredicted_only: bool = False,
        unlabelled_only: bool = False,
    ) -> Iterator[list[Task]]:
        """Pages of the tasks without a prediction of this version, by ascending id.

        after_id: begin behind this task. unpredicted_only: leave out tasks that have a
        prediction of any other version, unlabelled_only: those with an annotation. Pages go
        by task id, not by page number, so that importing predictions meanwhile neither
        skips nor repeats a task. A version that is part of the text of another counts as
        that one, as Label Studio compares so.
        """
        while True:
            filters = [_filter("id", "greater", "Number", after_id), _lacking(model_version)]
            filters += [_UNPREDICTED] if unpredicted_only else []
            filters += [_UNLABELLED] if unlabelled_only else []
            tasks = [read_task(entry) for entry in self._page(project_id, filters, page_size)[0]]
            if not tasks:
                return
            yield tasks
            after_id = max(task.id or 0 for task in tasks)

    def annotated_tasks(
        self, project_id: int, *, page_size: int = 50
    ) -> Iterator[list[AnnotatedTask]]:
        """Pages of the tasks with annotations, those that were skipped included.

        By ascending id, first those with an annotation proper, then those with a skipped
        one: a task with both comes twice.
        """
        for annotated in _ANNOTATED:
            after_id = 0
            while True:
                filters = [_filter("id", "greater", "Number", after_id), annotated]
                found = self._page(project_id, filters, page_size, fields="all")[0]
                if not found:
                    break
                page = [read_annotated_task(entry) for entry in found]
                yield page
                after_id = max(item.task.id for item in page)

    def annotated_among(self, project_id: int, task_ids: Iterable[int]) -> Iterator[AnnotatedTask]:
        """Those of the tasks that are there, each with all its annotations."""
        for entry in self._among(project_id, task_ids, [], fields="all"):
            yield read_annotated_task(entry)

    def tasks_among(self, project_id: int, task_ids: Iterable[int]) -> list[Task]:
        """Those of the tasks that are there. Unlike ``task`` this asks no backend for anything."""
        return [read_task(entry) for entry in self._among(project_id, task_ids, [])]

    def annotation_state(self, project_id: int) -> str:
        """Text that changes whenever an annotation of the project does, and at other times."""
        found, tasks, annotations = self._page(project_id, [], 1, ordering="-tasks:updated_at")
        newest = text_of(found[0].get("updated_at")) if found else ""
        return f"{tasks} {annotations} {newest}"

    def count_lacking(
        self, project_id: int, model_version: str, *, unpredicted_only: bool = False
    ) -> int:
        """How many tasks tasks_lacking_version would give."""
        filters = [_lacking(model_version), *([_UNPREDICTED] if unpredicted_only else [])]
        return self._page(project_id, filters, 1)[1]

    def predictions_of(
        self, task_ids: Iterable[int], project_id: int, model_version: str
    ) -> set[int]:
        """Those of the tasks that have a prediction of this version."""
        having = _filter("predictions_model_versions", "contains", "List", [model_version])
        return {
            whole_of(entry.get("id"))
            for entry in self._among(project_id, task_ids, [having])
            if _names_version(text_of(entry.get("predictions_model_versions")), model_version)
        }

    def existing_tasks(self, task_ids: Iterable[int], project_id: int) -> set[int]:
        """Those of the tasks that the project still has."""
        return {whole_of(entry.get("id")) for entry in self._among(project_id, task_ids, [])}

    def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store predictions, each with its ``task`` id, in one go; returns how many were.

        Fewer than given: Label Studio found the rest invalid and dropped them without a
        word. One unknown task, and all are refused (LabelStudioError). Called twice, all
        are there twice.
        """
        if not predictions:
            return 0
        path = f"api/projects/{project_id}/import/predictions"
        answer = object_of(self._call("POST", path, json=[dict(p) for p in predictions]))
        return whole_of(answer.get("created"))

    def model_versions(self, project_id: int) -> dict[str, int]:
        """Number of predictions of each version in the project."""
        answer = object_of(self._call("GET", f"api/projects/{project_id}/model-versions/"))
        return {str(version): whole_of(count) for version, count in answer.items()}

    def delete_model_version(self, project_id: int, model_version: str) -> int:
        """Delete all predictions of a version; returns how many.

        Label Studio clears the project's ``model_version`` on the way if that names the
        live backend, which ends live predictions: patch_project puts it back.
        """
        path = f"api/projects/{project_id}/model-versions/"
        answer = object_of(self._call("DELETE", path, json={"model_version": model_version}))
        return whole_of(answer.get("deleted_predictions"))

    def ml_backends(self, project_id: int) -> list[MlBackend]:
        """Connected backends, the one that is asked first. Label Studio calls each on this."""
        entries = list_of(self._call("GET", "api/ml/", {"project": project_id}))
        return sorted((read_ml_backend(object_of(one)) for one in entries), key=lambda one: one.id)

    def webhooks(self, project_id: int) -> list[Webhook]:
        entries = list_of(self._call("GET", "api/webhooks/", {"project": project_id}))
        return [read_webhook(object_of(entry)) for entry in entries]

    def _among(
        self,
        project_id: int,
        task_ids: Iterable[int],
        filters: list[dict[str, Any]],
        *,
        fields: str = "",
    ) -> Iterator[dict[str, Any]]:
        ids = sorted(set(task_ids))
        for start in range(0, len(ids), _IDS_A_CALL):
            part = ids[start : start + _IDS_A_CALL]
            wanted = _filter("id", "in_list", "Number", part)
            yield from self._page(project_id, [wanted, *filters], len(part), fields=fields)[0]

    def _page(
        self,
        project_id: int,
        filters: list[dict[str, Any]],
        page_size: int,
        *,
        ordering: str = "tasks:id",
        fields: str = "",
    ) -> tuple[list[dict[str, Any]], int, int]:
        """First page of the data manager's list, with the number of tasks and annotations.

        fields: "all" for annotations and predictions with their regions.
        """
        query = {
            "filters": {"conjunction": "and", "items": filters},
            "ordering": [ordering],
        }
        parameters: dict[str, Any] = {
            "project": project_id,
            "page": 1,
            "page_size": page_size,
            "resolve_uri": _flag(False),
            "query": json.dumps(query, separators=(",", ":")),
        }
        if fields:
            parameters["fields"] = fields
        answer = object_of(self._call("GET", "api/tasks/", parameters))
        entries = [object_of(entry) for entry in list_of(answer.get("tasks"))]
        return (
            entries,
            whole_of(answer.get("total")),
            whole_of(answer.get("total_annotations") or 0),
        )

    def _call(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> Any:
        authorization = self.tokens.authorization()
        try:
            return self._once(method, path, parameters, json, authorization)
        except LabelStudioAuth:
            # An access token may die early: clocks differ, servers restart with another secret.
            fresh = self.tokens.renew(authorization)
            if fresh == authorization:
                raise
        return self._once(method, path, parameters, json, fresh)

    def _once(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None,
        json: Any,
        authorization: str,
    ) -> Any:
        request = self._http.build_request(
            method, path, params=parameters, json=json, headers={"Authorization": authorization}
        )
        return read_json(send(self._http, request))


def _filter(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": kind,
        "value": value,
    }


def _lacking(model_version: str) -> dict[str, Any]:
    return _filter("predictions_model_versions", "not_contains", "List", [model_version])


def _names_version(shown: str, model_version: str) -> bool:
    """Whether the data manager's column has exactly this version.

    Where the column may be cut, its filter, which compares parts of texts, has the last
    word: better a prediction missing than one stored twice.
    """
    return len(shown) >= _COLUMN_CHARS or model_version in (
        version.strip() for version in shown.split(",")
    )


_UNPREDICTED = _filter("total_predictions", "equal", "Number", 0)
_UNLABELLED = _filter("total_annotations", "equal", "Number", 0)
_ANNOTATED = tuple(
    _filter(column, "greater", "Number", 0)
    for column in ("total_annotations", "cancelled_annotations")  # the former without skips
)


def _flag(value: bool) -> str:
    return "true" if value else "false"

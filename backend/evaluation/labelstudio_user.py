"""What a person does in Label Studio, done through its API.

Demonstration and tests press the same buttons as a user's browser would; what the backend
itself needs from Label Studio is in ``backend.labelstudio.client``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from backend.errors import LabelStudioAuth, LabelStudioError
from backend.evaluation.labelstudio_server import Account

TIMEOUT_S = 150.0
"""Longer than the 100 s that Label Studio itself gives a backend."""

FILES_A_REQUEST = 10


class LabelStudioUser:
    """The user of an account, calling with its token. Use as a context manager."""

    def __init__(self, url: str, account: Account) -> None:
        self._url = url
        self._account = account
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Token {account.token}"},
            timeout=TIMEOUT_S,
            trust_env=False,  # a proxy set for this machine knows no loopback addresses
        )

    def __enter__(self) -> LabelStudioUser:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create_project(self, title: str, label_config: str) -> int:
        """Id of a new project."""
        body = {"title": title, "label_config": label_config}
        return int(self._json("POST", "/api/projects/", json=body)["id"])

    def import_tasks(self, project_id: int, data: Sequence[Mapping[str, Any]]) -> None:
        """One task an entry, all in one request."""
        body = [{"data": dict(entry)} for entry in data]
        self._json("POST", f"/api/projects/{project_id}/import", json=body)

    def upload(
        self,
        project_id: int,
        paths: Sequence[Path],
        tell: Callable[[int], None] | None = None,
    ) -> None:
        """One task a file, uploaded ten at a time; tell hears how many are done."""
        for start in range(0, len(paths), FILES_A_REQUEST):
            batch = paths[start : start + FILES_A_REQUEST]
            with ExitStack() as opened:
                files = [
                    (path.name, (path.name, opened.enter_context(path.open("rb"))))
                    for path in batch
                ]
                self._json("POST", f"/api/projects/{project_id}/import", files=files)
            if tell is not None:
                tell(start + len(batch))

    def connect_backend(
        self, project_id: int, url: str, title: str = "saliency", *, interactive: bool = False
    ) -> dict[str, Any]:
        """The backend as Label Studio lists it after trying it; state "CO" is connected.

        interactive: with "Use for interactive preannotations" switched on.
        """
        body = {"url": url, "project": project_id, "title": title, "is_interactive": interactive}
        return self._dict("POST", "/api/ml", json=body)

    def backend(self, backend_id: int) -> dict[str, Any]:
        """A connected backend, tried anew."""
        return self._dict("GET", f"/api/ml/{backend_id}")

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        """All backends of a project, tried anew."""
        return list(self._json("GET", f"/api/ml?project={project_id}"))

    def send_test_request(self, backend_id: int) -> dict[str, Any]:
        """What the backend answers for one task drawn by chance; nothing is stored."""
        return self._dict("POST", f"/api/ml/{backend_id}/predict/test?random=true")

    def ask_about(
        self, backend_id: int, task_id: int, regions: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Use a smart tool on a task: what the editor is told; nothing is stored."""
        return self._dict(
            "POST",
            f"/api/ml/{backend_id}/interactive-annotating",
            json={"task": task_id, "context": {"result": list(regions)}},
        )

    def retrieve_predictions(self, project_id: int) -> dict[str, Any]:
        """Press "Retrieve predictions" for all tasks of the data manager."""
        return self._dict(
            "POST",
            f"/api/dm/actions?id=retrieve_tasks_predictions&project={project_id}",
            json={"selectedItems": {"all": True, "excluded": []}},
        )

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """All tasks of a project by id, as the data manager lists them."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._json(
                "GET",
                f"/api/tasks?project={project_id}&page={len(found) // 100 + 1}&page_size=100"
                "&resolve_uri=false",
            )
            found += page["tasks"]
            if len(found) >= page["total"] or not page["tasks"]:
                return sorted(found, key=lambda task: int(task["id"]))

    def sorted_tasks(self, project_id: int, column: str) -> list[dict[str, Any]]:
        """The first hundred tasks in the order of a column of the data manager.

        column: for example ``tasks:predictions_score``; a leading ``-`` turns the order round.
        """
        asked = {"project": project_id, "page_size": 100, "fields": "all", "resolve_uri": "false"}
        asked["query"] = json.dumps({"ordering": [column]})
        return list(self._json("GET", "/api/tasks", params=asked)["tasks"])

    def annotate(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        parent_prediction: int | None,
        lead_time_s: float,
    ) -> int:
        """Press "Submit" and get the annotation's id; parent: what the person began with."""
        body = {
            "result": [dict(region) for region in result],
            "parent_prediction": parent_prediction,
            "lead_time": lead_time_s,
            "was_cancelled": False,
        }
        return int(self._json("POST", f"/api/tasks/{task_id}/annotations/", json=body)["id"])

    def delete_annotation(self, annotation_id: int) -> None:
        """Press "Delete" on an annotation."""
        _checked(self._http.delete(f"/api/annotations/{annotation_id}/"))

    def project(self, project_id: int) -> dict[str, Any]:
        """A project's settings."""
        return self._dict("GET", f"/api/projects/{project_id}/")

    def change_config(self, project_id: int, label_config: str) -> None:
        """Save another labelling configuration in a project's settings."""
        body = {"label_config": label_config}
        self._json("PATCH", f"/api/projects/{project_id}/", json=body)

    def predictions(self, project_id: int) -> list[dict[str, Any]]:
        """All stored predictions of a project."""
        return list(self._json("GET", f"/api/predictions/?project={project_id}"))

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The webhooks of a project."""
        return list(self._json("GET", f"/api/webhooks/?project={project_id}"))

    def personal_access_token(self) -> str:
        """A new token of the newer kind; Label Studio gives one per user and shows it once.

        Raises: LabelStudioAuth when the password is refused.
        """
        with self._signed_in() as browser:
            csrf = {
                "X-CSRFToken": browser.cookies["csrftoken"],
                "Referer": f"{self._url}/user/account",
            }
            return str(_checked(browser.post("/api/token/", headers=csrf)).json()["token"])

    @contextmanager
    def _signed_in(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as browser:
            browser.get("/user/login/")
            form = {
                "csrfmiddlewaretoken": browser.cookies["csrftoken"],
                "email": self._account.email,
                "password": self._account.password,
            }
            answer = browser.post(
                "/user/login/", data=form, headers={"Referer": f"{self._url}/user/login/"}
            )
            if answer.status_code != httpx.codes.FOUND:
                raise LabelStudioAuth(
                    f"Label Studio refused the password of {self._account.email}.",
                    "Start with a fresh data folder.",
                )
            yield browser

    def _json(self, method: str, path: str, **body: Any) -> Any:
        return _checked(self._http.request(method, path, **body)).json()

    def _dict(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        return dict(self._json(method, path, **body))


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_success:
        return reply
    raise LabelStudioError(
        f"Label Studio answered {reply.status_code} to {reply.request.method} "
        f"{reply.request.url.path}: {reply.text[:500]}",
        "Its own log tells more.",
    )

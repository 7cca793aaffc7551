"""The API client against a real HTTP server with Label Studio's answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from backend.domain import Task
from backend.errors import LabelStudioAuth, LabelStudioError, LabelStudioUnreachable
from backend.labelstudio.api_values import MlBackend, Project, User, Webhook
from backend.labelstudio.client import LabelStudioClient
from tests.labelstudio.conftest import Call, Script
from tests.labelstudio.test_tokens import LEGACY, jwt


@pytest.fixture
def client(loopback: Script) -> Iterator[LabelStudioClient]:
    with LabelStudioClient(loopback.url, SecretStr(LEGACY), 5) as opened:
        yield opened


def parameters(call: Call) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(call.path).query).items()}


class DataManager:
    """The data manager's task list, its filters applied as Label Studio 1.23.2 does."""

    def __init__(self, versions_by_task: dict[int, list[str]]) -> None:
        self.versions = versions_by_task

    def __call__(self, call: Call) -> tuple[int, Any]:
        assert urlsplit(call.path).path == "/api/tasks/"
        given = parameters(call)
        assert (given["project"], given["page"], given["resolve_uri"]) == ("3", "1", "false")
        query = json.loads(given["query"])
        assert query["ordering"] == ["tasks:id"]
        assert query["filters"]["conjunction"] == "and"
        found = sorted(self.versions)
        for item in query["filters"]["items"]:
            found = [task for task in found if self._keeps(task, item)]
        entries = [
            {
                "id": task,
                "data": {"image": f"/{task}.png"},
                "predictions_model_versions": ",".join(self.versions[task])[:500],
            }
            for task in found[: int(given["page_size"])]
        ]
        return 200, {"total": len(found), "tasks": entries}

    def _keeps(self, task: int, item: dict[str, Any]) -> bool:
        column, operator, value = item["filter"], item["operator"], item["value"]
        if column == "filter:tasks:id":
            assert item["type"] == "Number"
            return task > value if operator == "greater" else task in value
        assert (column, item["type"]) == ("filter:tasks:predictions_model_versions", "List")
        has = any(part in version for part in value for version in self.versions[task])
        return has if operator == "contains" else not has


def test_version_needs_no_key(loopback: Script) -> None:
    loopback.answer = lambda call: (200, {"release": "1.23.2", "edition": "Community"})
    with LabelStudioClient(loopback.url, SecretStr(""), 5) as client:
        assert client.version() == "1.23.2"
    assert loopback.calls[0].authorization == ""


def test_whoami_and_project(loopback: Script, client: LabelStudioClient) -> None:
    loopback.answer = lambda call: (200, {"id": 1, "email": "t@example.com"})
    assert client.whoami() == User(1, "t@example.com")
    assert loopback.calls[0].authorization == f"Token {LEGACY}"
    entry = {
        "id": 3, "title": "Dogs", "label_config": "<View/>", "model_version": "",
        "task_number": None, "evaluate_predictions_automatically": True,
    }  # fmt: skip
    loopback.answer = lambda call: (200, entry)
    assert client.project(3) == Project(3, "Dogs", "<View/>", "", 0, True)
    assert client.patch_project(3, {"title": "Dogs"}).title == "Dogs"
    assert (loopback.calls[-1].method, loopback.calls[-1].body) == ("PATCH", {"title": "Dogs"})


def test_sub_path_installation(loopback: Script) -> None:
    loopback.answer = lambda call: (200, {"release": "1"})
    for base in (f"{loopback.url}/lsx", f"{loopback.url}/lsx/"):
        with LabelStudioClient(base, SecretStr(LEGACY), 5) as client:
            client.version()
    assert [call.path for call in loopback.calls] == ["/lsx/api/version"] * 2


def test_project_ids_over_pages(loopback: Script, client: LabelStudioClient) -> None:
    def answer(call: Call) -> tuple[int, Any]:
        if parameters(call)["page"] == "1":
            return 200, {"next": "http://x/?page=2", "results": [{"id": 9}, {"id": 4}]}
        return 200, {"next": None, "results": [{"id": 2}]}

    loopback.answer = answer
    assert client.project_ids() == [2, 4, 9]


def test_tasks_lacking_a_version_while_predictions_arrive(
    loopback: Script, client: LabelStudioClient
) -> None:
    manager = DataManager({task: [] for task in range(1, 8)})
    manager.versions[3] = ["v-2", "v-1"]
    loopback.answer = manager
    assert client.count_lacking(3, "v-1") == 6
    pages = []
    for page in client.tasks_lacking_version(3, "v-1", page_size=2):
        pages.append([task.id for task in page])
        for task in page:  # each page is pushed before the next is asked for
            manager.versions[task.id or 0].append("v-1")
    assert pages == [[1, 2], [4, 5], [6, 7]]
    assert list(client.tasks_lacking_version(3, "v-1")) == []
    (rest,) = client.tasks_lacking_version(3, "v-9", after_id=6)
    assert rest == [Task(7, {"image": "/7.png"})]


def test_predictions_of_and_existing_tasks(loopback: Script, client: LabelStudioClient) -> None:
    long = [f"version-{i}" for i in range(60)]
    loopback.answer = DataManager({1: ["v-1"], 2: ["v-10"], 3: [], 4: [*long, "v-1"]})
    assert client.predictions_of([1, 2, 3, 4, 99], 3, "v-1") == {1, 4}
    assert client.existing_tasks([4, 3, 99], 3) == {3, 4}
    calls = len(loopback.calls)
    assert client.existing_tasks([], 3) == set()
    assert len(loopback.calls) == calls


def test_tasks_among_asks_the_data_manager(loopback: Script, client: LabelStudioClient) -> None:
    loopback.answer = DataManager({7: ["v-1"], 8: []})
    assert client.tasks_among(3, [7, 99]) == [Task(7, {"image": "/7.png"})]
    assert client.tasks_among(3, []) == []
    # Reading one task by its number would have Label Studio ask this backend for predictions.
    assert not [call for call in loopback.calls if call.path.startswith("/api/tasks/7")]


def test_many_ids_are_asked_in_parts(loopback: Script, client: LabelStudioClient) -> None:
    ids = range(1_000_000, 1_000_450)
    loopback.answer = DataManager({task: [] for task in ids})
    assert client.existing_tasks(ids, 3) == set(ids)
    assert len(loopback.calls) == 3
    assert max(len(call.path) for call in loopback.calls) < 4000


def test_import_predictions_tells_how_many_were_kept(
    loopback: Script, client: LabelStudioClient
) -> None:
    loopback.answer = lambda call: (201, {"created": 1})
    given = [{"task": 5, "result": [], "score": 0.0, "model_version": "v"}] * 2
    assert client.import_predictions(3, given) == 1
    (call,) = loopback.calls
    assert (call.path, call.body) == ("/api/projects/3/import/predictions", given)
    assert client.import_predictions(3, []) == 0
    assert len(loopback.calls) == 1


def test_backends_webhooks_versions_task(loopback: Script, client: LabelStudioClient) -> None:
    backend = {
        "id": 8, "url": "http://b.x:9090", "title": "m", "state": "CO", "model_version": None,
        "is_interactive": True,
    }  # fmt: skip
    loopback.answer = lambda call: (200, [{**backend, "id": 9}, backend])
    assert client.ml_backends(3)[0] == MlBackend(8, "http://b.x:9090", "m", "CO", "", True)
    hook = {"id": 1, "url": "u", "is_active": True, "send_for_all_actions": False, "actions": ["A"]}
    loopback.answer = lambda call: (200, [hook])
    assert client.webhooks(3) == [Webhook(1, "u", True, False, ("A",))]
    loopback.answer = lambda call: (200, {"v1": 250})
    assert client.model_versions(3) == {"v1": 250}
    loopback.answer = lambda call: (200, {"deleted_predictions": 4})
    assert client.delete_model_version(3, "old") == 4
    assert loopback.calls[-1].body == {"model_version": "old"}
    loopback.answer = lambda call: (200, {"id": 5, "data": {"image": "s3://b/x"}})
    assert client.task(5) == Task(5, {"image": "s3://b/x"})
    assert loopback.calls[-1].path == "/api/tasks/5/?resolve_uri=false"


def test_an_access_token_that_died_early_is_replaced_once(loopback: Script) -> None:
    def answer(call: Call) -> tuple[int, Any]:
        if call.path == "/api/token/refresh/":
            return 200, {"access": str(len(loopback.calls))}
        fresh = call.authorization == "Bearer 3"
        return (200, {"id": 1, "email": "e"}) if fresh else (401, {"detail": "expired"})

    loopback.answer = answer
    with LabelStudioClient(loopback.url, SecretStr(jwt("refresh")), 5) as client:
        assert client.whoami() == User(1, "e")
        assert [call.path.rsplit("/", 1)[-1] for call in loopback.calls] == [
            "", "whoami", "", "whoami",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "answer", "error", "says", "maybe_done"),
    [
        (401, {"detail": "Invalid token."}, LabelStudioAuth, "(401): Invalid token.", None),
        (403, {}, LabelStudioAuth, "(403)", None),
        (404, {"detail": "No Project matches."}, LabelStudioError, "No Project matches.", None),
        (400, {"validation_errors": {"a": ["b"]}}, LabelStudioError, '{"a": ["b"]}', None),
        (400, b"x" * 1000, LabelStudioError, "x" * 300 + "…", None),
        (302, b"", LabelStudioError, "redirects to https://elsewhere.example/", None),
        (200, b"<html>proxy</html>", LabelStudioError, "did not answer with JSON", None),
        (200, [1], LabelStudioError, "list where an object was expected", None),
        (200, {"created": "2"}, LabelStudioError, "str where a whole number", None),
        (500, b"", LabelStudioUnreachable, "(500): no reason given.", True),
        (429, b"slow down", LabelStudioUnreachable, "(429): slow down.", False),
        (0, None, LabelStudioUnreachable, "RemoteProtocolError", True),
    ],
)  # fmt: skip
def test_failures_say_what_to_do_and_whether_it_may_be_done(
    loopback: Script,
    client: LabelStudioClient,
    status: int,
    answer: Any,
    error: type[LabelStudioError],
    says: str,
    maybe_done: bool | None,
) -> None:
    loopback.answer = lambda call: (status, answer)
    with pytest.raises(error) as caught:
        client.import_predictions(3, [{"task": 1, "result": []}])
    assert type(caught.value) is error
    assert says in caught.value.what
    assert getattr(caught.value, "maybe_done", None) is maybe_done
    assert LEGACY not in str(caught.value)
    assert len(loopback.calls) == 1


def test_nobody_listens() -> None:
    with LabelStudioClient("http://127.0.0.1:1", SecretStr(LEGACY), 5) as client:
        with pytest.raises(LabelStudioUnreachable) as caught:
            client.import_predictions(3, [{"task": 1}])
        assert caught.value.maybe_done is False
        assert "LABEL_STUDIO_URL" in caught.value.remedy


def test_no_answer_in_time_may_be_done() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with LabelStudioClient(url, SecretStr(LEGACY), 0.2) as client:
            with pytest.raises(LabelStudioUnreachable, match="ReadTimeout") as caught:
                client.import_predictions(3, [{"task": 1}])
            assert caught.value.maybe_done is True

"""GET /explain on a real Redis; the job is a fake one that a worker of this thread runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from backend.jobs import explain as explaining
from backend.jobs.explain_requests import KEPT_S
from backend.jobs.queues import queue
from backend.jobs.worker import SlotWorker
from backend.store import keys
from backend.store.fleet import Fleet, WorkerInfo
from tests.server.conftest import LABEL_CONFIG, Serve

PNG = b"\x89PNG\r\n\x1a\n and pixels"
ASKED = {"project": "1", "task": "7", "label": "Raccoon", "method": "cam"}


@pytest.fixture
def worker(connection: redis.Redis) -> None:
    """One is alive, though it does nothing by itself."""
    Fleet(connection).beat(WorkerInfo("w", "host", 1, "cpu", "mobilenet_v2", "ready"))


@pytest.fixture
def project(client: httpx.Client, worker: None) -> httpx.Client:
    """A client that has set up project 1."""
    client.post("/setup", json={"project": "1.1795224262", "schema": LABEL_CONFIG})
    return client


def work(connection: redis.Redis) -> None:
    name = uuid.uuid4().hex
    SlotWorker(connection, name, on_job_done=lambda: None).work(burst=True, logging_level="ERROR")


@pytest.fixture
def answered(
    connection: redis.Redis, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> Callable[..., httpx.Response]:
    """Asks, and has the job done by what stands in for it."""

    def ask(
        client: httpx.Client, job: Callable[[Mapping[str, Any]], Any], **changes: str
    ) -> httpx.Response:
        monkeypatch.setattr(explaining, "run", job)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.get, "/explain", params=ASKED | changes)
            until(lambda: len(queue(connection, "interactive")) == 1)
            work(connection)
            return reply.result()

    return ask


def test_the_picture_comes_as_png(
    serve: Serve, project: httpx.Client, connection: redis.Redis,
    answered: Callable[..., httpx.Response],
) -> None:  # fmt: skip
    payloads: list[Mapping[str, Any]] = []

    def run(payload: Mapping[str, Any]) -> dict[str, int]:
        payloads.append(payload)
        connection.set(keys.explanation(payload["name"]), PNG, ex=KEPT_S)
        return {"bytes": len(PNG)}

    patient = serve(predict_deadline_without_key_s=20)
    reply = answered(patient, run)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "image/png"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.content == PNG
    (payload,) = payloads
    told = {name: payload[name] for name in ("project_id", "task_id", "label", "method")}
    assert told == {"project_id": "1", "task_id": 7, "label": "Raccoon", "method": "cam"}
    again = project.get("/explain", params=ASKED)
    assert (again.status_code, again.content) == (200, PNG)
    assert len(queue(connection, "interactive")) == 0


@pytest.mark.parametrize("status", [404, 422, 502])
@pytest.mark.slow
def test_what_the_worker_finds_wrong_is_the_reply(
    serve: Serve, project: httpx.Client, answered: Callable[..., httpx.Response], status: int
) -> None:
    told = {"code": "some_word", "status": status, "what": "It is so.", "remedy": "Do this."}
    reply = answered(serve(predict_deadline_without_key_s=20), lambda _: {"refused": told})
    assert reply.status_code == status
    content = reply.json()
    assert content.pop("request_id")
    assert content == {"error": "some_word", "what": "It is so.", "remedy": "Do this."}


def test_a_fault_in_the_worker_is_a_500(
    serve: Serve, project: httpx.Client, answered: Callable[..., httpx.Response]
) -> None:
    def broken(_: Mapping[str, Any]) -> None:
        raise ZeroDivisionError("inside")

    reply = answered(serve(predict_deadline_without_key_s=20), broken)
    assert reply.status_code == 500
    assert reply.json()["error"] == "job"


def test_what_is_late_is_a_504_that_says_where_to_look(
    project: httpx.Client, connection: redis.Redis
) -> None:
    started_s = time.monotonic()
    reply = project.get("/explain", params=ASKED)
    assert 0.4 < time.monotonic() - started_s < 20  # the deadline is 0.5 s
    assert reply.status_code == 504
    told = reply.json()
    assert told["error"] == "deadline_passed"
    (job_id,) = queue(connection, "interactive").job_ids
    assert job_id in told["remedy"]
    assert project.get(f"/jobs/{job_id}").json()["state"] == "queued"


def test_with_a_key_the_other_deadline_holds(serve: Serve, project: httpx.Client) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    client = serve(
        label_studio_api_key=key, predict_deadline_s=0.3, predict_deadline_without_key_s=60
    )
    started_s = time.monotonic()
    assert client.get("/explain", params=ASKED).status_code == 504
    assert time.monotonic() - started_s < 30


@pytest.mark.slow
def test_a_plus_sign_may_come_unescaped(
    serve: Serve, project: httpx.Client, answered: Callable[..., httpx.Response]
) -> None:
    methods: list[str] = []

    def run(payload: Mapping[str, Any]) -> dict[str, Any]:
        methods.append(payload["method"])
        return {"refused": {"code": "x", "status": 422, "what": "", "remedy": ""}}

    answered(serve(predict_deadline_without_key_s=20), run, method="gradcam  ")
    assert methods == ["gradcam++"]


def test_an_unknown_project_and_no_worker(client: httpx.Client) -> None:
    unknown = client.get("/explain", params=ASKED)
    assert unknown.status_code == 404
    assert unknown.json()["error"] == "project_not_found"
    client.post("/setup", json={"project": "1", "schema": LABEL_CONFIG})
    idle = client.get("/explain", params=ASKED)
    assert idle.status_code == 503
    assert idle.json()["error"] == "no_workers"
    assert "python -m backend worker" in idle.json()["remedy"]


@pytest.mark.parametrize(
    "changes",
    [
        {"project": ""},
        {"project": "x"},
        {"project": "0"},
        {"task": "-1"},
        {"task": str(2**63)},
        {"label": "x" * 201},
        {"method": ""},
        {"method": "cam;gradient"},
        {"method": "x" * 65},
    ],
    ids=lambda changes: "-".join(next(iter(changes.items())))[:20],
)
def test_what_cannot_be_asked(project: httpx.Client, changes: dict[str, str]) -> None:
    reply = project.get("/explain", params=ASKED | changes)
    assert reply.status_code == 422
    assert set(reply.json()) == {"error", "what", "remedy", "request_id"}


def test_project_and_task_are_needed(project: httpx.Client) -> None:
    for missing in ("project", "task"):
        asked = {name: value for name, value in ASKED.items() if name != missing}
        assert project.get("/explain", params=asked).status_code == 422


def test_credentials_are_asked_for(serve: Serve) -> None:
    guarded = serve(basic_auth_user="user", basic_auth_pass="secret")
    assert guarded.get("/explain", params=ASKED).status_code == 401
    known = guarded.get("/explain", params=ASKED, auth=("user", "secret"))
    assert known.status_code == 404, "the project is unknown, the caller is not"

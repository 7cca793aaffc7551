"""/webhook: any action, at once."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from backend.jobs.queues import queue
from backend.learning.ledger import Ledger
from backend.store import keys
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from tests.server.conftest import LABEL_CONFIG, Serve

NEW_CONFIG = LABEL_CONFIG.replace("Raccoon", "Fox")


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({}, "ignored"),
        ({"action": None}, "ignored"),
        ({"action": 5, "project": 3}, "ignored"),
        ({"action": "SOMETHING_NEW", "project": {"id": 1}}, "ignored"),
        ({"action": "x" * 5000}, "ignored"),
        ({"action": "PROJECT_UPDATED"}, "ignored"),
        ({"action": "START_TRAINING"}, "ignored"),
        ({"action": "PROJECT_UPDATED", "project": {"id": 1, "label_config": 7}}, "accepted"),
        ({"action": "ANNOTATION_CREATED", "annotation": {"id": 7}, "task": {"id": 1}}, "ignored"),
        ({"action": "ANNOTATION_CREATED", "project": 1, "annotation": {"id": 7}}, "accepted"),
        ({"action": "ANNOTATION_UPDATED", "project": 1, "annotation": [None, 4]}, "accepted"),
        ({"action": "ANNOTATIONS_CREATED", "project": 1, "annotation": [], "task": []}, "accepted"),
        ({"action": "ANNOTATIONS_DELETED", "project": 1, "annotations": [{"id": 8}]}, "accepted"),
        ({"action": "TASKS_CREATED", "project": 1, "tasks": [{"id": 1, "data": {}}]}, "accepted"),
        ({"action": "TASKS_DELETED", "project": 1, "tasks": [{"id": 256}]}, "accepted"),
    ],
    ids=lambda value: str(value.get("action", "none"))[:20] if isinstance(value, dict) else value,
)
def test_any_action_is_answered_with_an_object(
    client: httpx.Client, payload: dict[str, Any], status: str
) -> None:
    reply = client.post("/webhook", json=payload)
    assert reply.status_code == 200
    told = reply.json()
    assert told["status"] == status
    assert told["job"] is None
    assert len(told["action"]) <= 64


def saved(number: int, at: int = 1, **fields: Any) -> dict[str, Any]:
    annotation = {
        "id": number, "task": number, "result": [], "completed_by": 1,
        "updated_at": f"2026-01-01T00:00:{at:02d}Z",
    } | fields  # fmt: skip
    task = {"id": number, "data": {"image": f"/{number}.png"}}
    project = {"id": 7, "label_config": LABEL_CONFIG}
    action = "ANNOTATION_CREATED"
    return {"action": action, "annotation": annotation, "task": task, "project": project}


START = {"action": "START_TRAINING", "project": {"id": 7, "label_config": LABEL_CONFIG}}


def test_start_training_names_a_job_that_can_be_followed(client: httpx.Client) -> None:
    told = client.post("/webhook", json=START).json()
    assert told["status"] == "queued"
    assert client.post("/webhook", json=START).json()["job"] == told["job"], "one is enough"
    job = client.get(f"/jobs/{told['job']}").json()
    assert (job["state"], job["outcome"]) == ("queued", None)
    assert client.get("/health").json()["queues"]["train"] == 1


def test_enough_annotations_queue_a_training(client: httpx.Client, connection: redis.Redis) -> None:
    jobs = [client.post("/webhook", json=saved(number)).json()["job"] for number in range(1, 8)]
    assert jobs[:4] == [None] * 4
    assert jobs[4] is not None
    assert set(jobs[4:]) == {jobs[4]}
    assert Ledger(LedgerStore(connection)).changes("7").count == 7


def test_reports_that_come_again_or_teach_nothing_do_not_count(
    client: httpx.Client, connection: redis.Redis
) -> None:
    for event in [saved(1)] * 9 + [saved(number, was_cancelled=True) for number in range(2, 9)]:
        assert client.post("/webhook", json=event).json()["job"] is None
    assert Ledger(LedgerStore(connection)).changes("7").count == 1


def test_a_burst_is_one_training_and_each_is_answered_at_once(
    client: httpx.Client, connection: redis.Redis
) -> None:
    took_s: list[float] = []

    def post(number: int) -> str | None:
        began_s = time.perf_counter()
        reply = client.post("/webhook", json=saved(number % 60, at=number % 7)).json()
        took_s.append(time.perf_counter() - began_s)
        job: str | None = reply["job"]
        return job

    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(post, range(200)))
    assert len({job for job in jobs if job}) == 1
    assert len(queue(connection, "train")) == 1
    entries = Ledger(LedgerStore(connection)).entries("7")
    assert [entry.annotation_id for entry in entries] == list(range(60))
    newest = max(entry.updated_us for entry in entries)
    assert all(newest - entry.updated_us < 6_000_000 for entry in entries)
    assert statistics.median(took_s) < 0.3


@pytest.mark.parametrize(
    ("project", "config"),
    [
        ({"id": 7, "label_config": NEW_CONFIG}, NEW_CONFIG),
        ({"id": 7, "label_config": ""}, LABEL_CONFIG),
        ({"id": 7}, LABEL_CONFIG),
        ({"id": 8, "label_config": NEW_CONFIG}, LABEL_CONFIG),
    ],
    ids=["changed", "empty", "not-sent", "another-project"],
)
def test_project_updated_renews_the_configuration(
    client: httpx.Client, connection: redis.Redis, project: dict[str, Any], config: str
) -> None:
    setup = {"project": "7.1", "schema": LABEL_CONFIG, "hostname": "h", "extra_params": {"a": 1}}
    client.post("/setup", json=setup)
    client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": project})
    known = ProjectStore(connection).get("7")
    assert known is not None
    assert (known.label_config, known.hostname, known.extra_params) == (config, "h", {"a": 1})
    assert ProjectStore(connection).all_ids() == ["7"]


def test_a_changed_configuration_of_a_trained_project_is_refreshed_once(
    serve: Serve, connection: redis.Redis
) -> None:
    client = serve(label_studio_api_key="key", label_studio_url="http://127.0.0.1:9")

    def refreshes() -> int:
        return len([job for job in queue(connection, "train").job_ids if "refresh" in job])

    def set_up(config: str) -> None:
        client.post("/setup", json={"project": "7.1", "schema": config, "hostname": "h"})

    def update(config: str) -> None:
        project = {"id": 7, "label_config": config}
        client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": project})

    set_up(LABEL_CONFIG)
    update(NEW_CONFIG)
    assert refreshes() == 0, "without a head every prediction is asked for live"
    connection.set(keys.head_pointer("7"), "1 feed beef")
    update(LABEL_CONFIG)
    set_up(LABEL_CONFIG)
    assert refreshes() == 1
    set_up(NEW_CONFIG)
    update(NEW_CONFIG)
    assert refreshes() == 2
    update(NEW_CONFIG.replace("<Label ", '<Label background="red" '))
    update("<View/>")
    assert refreshes() == 2, "a colour changes no prediction, and what cannot be served has none"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b'{"a":"\\ud800"}'])
def test_what_is_no_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/webhook", content=body).status_code == 422


def test_takes_less_than_300_ms(client: httpx.Client) -> None:
    regions = [{"id": str(i), "value": {"rle": list(range(2000))}} for i in range(20)]
    payload = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": 1, "task": 1, "result": regions},
        "project": {"id": 1},
    }
    took_s = []
    for _ in range(7):
        started_s = time.perf_counter()
        client.post("/webhook", json=payload)
        took_s.append(time.perf_counter() - started_s)
    assert statistics.median(took_s) < 0.3

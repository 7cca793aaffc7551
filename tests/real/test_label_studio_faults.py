"""Label Studio killed while predictions are to be pushed; its webhooks twice and in any order."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from backend.domain import Task
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.evaluation.loopback_server import LoopbackServer, QuietHandler
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.push_requests import push_state
from backend.jobs.sync import Sync
from backend.labelstudio.client import LabelStudioClient
from backend.learning.ledger import Ledger
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.deliveries import Deliveries
from backend.store.embedded import running_url
from backend.store.ledgers import LedgerStore
from backend.store.predictions import are_finished
from tests.real.picture_server import PictureServer
from tests.real.projects import ONE_LABEL

Until = Callable[..., None]
TASKS = 24
ANNOTATED = 16


@pytest.fixture
def settings(backend: BackendProcess, labelstudio: LabelStudioServer) -> Settings:
    """Those of the backend that runs, for a second server beside it."""
    data_dir = Path(backend.env["DATA_DIR"])
    return load_settings(
        data_dir=data_dir,
        redis_url=running_url(data_dir) or "",
        label_studio_url=labelstudio.url,
        label_studio_api_key=labelstudio.account.token,
        backbone=backend.env["BACKBONE"],
    )


@pytest.fixture
def connection(settings: Settings) -> Iterator[redis.Redis]:
    with connect(settings.redis_url) as client:
        yield client


def test_predictions_outlive_a_killed_label_studio(
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    settings: Settings,
    connection: redis.Redis,
    pictures: PictureServer,
    until: Until,
) -> None:
    project_id = user.create_project("Killed", ONE_LABEL)
    project = str(project_id)
    user.import_tasks(project_id, [{"image": one} for one in pictures.addresses("down", TASKS)])
    tasks = tuple(Task(int(one["id"]), one["data"]) for one in user.tasks(project_id))
    assert labelstudio.pid is not None
    os.kill(labelstudio.pid, signal.SIGKILL)
    try:
        dispatcher = Dispatcher(settings, connection)
        ticket = dispatcher.begin(PredictCall(project, ONE_LABEL, tasks))
        assert dispatcher.finish(ticket) == [None] * TASKS
        keys_of = [key for key in ticket.keys if key is not None]
        until(lambda: all(are_finished(connection, keys_of)), timeout_s=120)
        until(lambda: push_state(connection, project).failures >= 2, timeout_s=60)
        assert Deliveries(connection).pending_count(project) == TASKS
    finally:
        labelstudio.stop()
        labelstudio.start()
    # No hand is needed: the supervisor of the running backend has them pushed.
    until(lambda: project not in Deliveries(connection).projects_with_pending(), timeout_s=120)
    stored = user.predictions(project_id)
    assert sorted(one["task"] for one in stored) == [task.id for task in tasks]
    assert {one["model_version"] for one in stored} == {ticket.version}


def keeping(kept: list[bytes]) -> type[BaseHTTPRequestHandler]:
    """Takes every webhook and passes none on."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            kept.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(b"{}", "application/json")

    return Handler


def a_busy_minute(label_studio: httpx.Client, task_ids: list[int], rng: random.Random) -> None:
    """Annotations made, changed and deleted, and two tasks deleted, at random."""

    def send(method: str, path: str, **body: Any) -> Any:
        reply = label_studio.request(method, path, json=body or None)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    def region() -> dict[str, Any]:
        value = {name: rng.randrange(40) for name in ("x", "y", "width", "height")}
        return {
            "id": f"r{rng.randrange(10**6)}", "from_name": "box", "to_name": "image",
            "type": "rectanglelabels", "original_width": 64, "original_height": 64,
            "image_rotation": 0, "value": {**value, "rotation": 0, "rectanglelabels": ["Figure"]},
        }  # fmt: skip

    made = [
        int(send("POST", f"/api/tasks/{task_id}/annotations/", result=[region()])["id"])
        for task_id in task_ids
    ]
    for number in rng.sample(made, len(made) // 2):
        for _ in range(rng.randrange(1, 3)):
            send("PATCH", f"/api/annotations/{number}/", result=[region(), region()])
    for number in rng.sample(made, len(made) // 4):
        send("DELETE", f"/api/annotations/{number}/")
    for task_id in rng.sample(task_ids, 2):
        send("DELETE", f"/api/tasks/{task_id}/")


def test_the_ledger_equals_what_label_studio_holds(
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    backend: BackendProcess,
    settings: Settings,
    connection: redis.Redis,
    pictures: PictureServer,
) -> None:
    project_id = user.create_project("Burst", ONE_LABEL)
    gone = f"http://{pictures.host}/missing.jpg"  # no training is to take long
    user.import_tasks(project_id, [{"image": gone}] * ANNOTATED)
    task_ids = [int(task["id"]) for task in user.tasks(project_id)]
    rng = random.Random(5)
    kept: list[bytes] = []
    key = {"Authorization": f"Token {labelstudio.account.token}"}
    with (
        LoopbackServer(keeping(kept)) as keeper,
        httpx.Client(base_url=labelstudio.url, headers=key, timeout=30, trust_env=False) as people,
    ):
        hook = {"url": f"{keeper.url}/webhook", "project": project_id, "send_payload": True}
        people.post("/api/webhooks/", json=hook | {"send_for_all_actions": True}).raise_for_status()
        a_busy_minute(people, task_ids, rng)
    assert len(kept) > 1.5 * ANNOTATED
    burst = kept * 2
    rng.shuffle(burst)
    with (
        httpx.Client(base_url=backend.url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(8) as team,
    ):
        posts = team.map(lambda body: client.post("/webhook", content=body).status_code, burst)
        assert set(posts) == {200}

    ledger = Ledger(LedgerStore(connection))
    noted = {
        entry.annotation_id: (entry.task_id, [one["id"] for one in entry.result])
        for entry in ledger.entries(str(project_id))
    }
    with LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key, 10.0) as truth:
        held = {
            record.id: (record.task_id, [one["id"] for one in record.result])
            for page in truth.annotated_tasks(project_id)
            for task in page
            for record in task.annotations
        }
        assert noted == held
        assert len(held) > ANNOTATED / 2
        report = Sync(ledger, truth, str(project_id)).run(whole=True)
    assert (report.annotations, report.changed) == (len(held), 0)

"""A thousand webhooks at once, each twice and in any order, to two servers on one Redis."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from backend.jobs.queues import queue
from backend.jobs.sync import Sync
from backend.labelstudio.client import LabelStudioClient
from backend.learning.ledger import Ledger
from backend.settings import load_settings
from backend.store.ledgers import LedgerStore
from tests.labelstudio_standin import LabelStudioStandin, running
from tests.server.conftest import LABEL_CONFIG, Serve

EVENTS = 500
PROJECTS = (1, 2)
AT_ONCE = 16


def region(rng: random.Random) -> dict[str, Any]:
    value = {name: rng.randrange(40) for name in ("x", "y", "width", "height")}
    return {
        "id": f"r{rng.randrange(10**6)}", "from_name": "label", "to_name": "image",
        "type": "rectanglelabels", "original_width": 96, "original_height": 96,
        "image_rotation": 0, "value": {**value, "rotation": 0, "rectanglelabels": ["Raccoon"]},
    }  # fmt: skip


@pytest.fixture
def label_studio() -> Iterator[LabelStudioStandin]:
    with running() as standin:
        for number in PROJECTS:
            standin.add_project(LABEL_CONFIG, number)
            standin.add_tasks([{"image": f"/{number}/{at}.png"} for at in range(60)], number)
        yield standin


def a_busy_hour(standin: LabelStudioStandin, rng: random.Random) -> list[bytes]:
    """What a team does at random; every webhook that Label Studio sends, in order."""
    sent: list[bytes] = []
    while len(sent) < EVENTS:
        own = list(standin.annotations)
        match rng.choices(("create", "change", "delete", "delete task"), (50, 30, 15, 2))[0]:
            case "change" if own:
                changed = [region(rng) for _ in range(rng.randrange(4))]
                event = standin.change_annotation(rng.choice(own), result=changed)
            case "delete" if own:
                event = standin.delete_annotation(rng.choice(own))
            case "delete task" if own:
                task_id = standin.annotations[rng.choice(own)]["task"]
                project = standin.projects[standin.tasks[task_id]["project"]]
                standin.delete_task(task_id)
                event = {"action": "TASKS_DELETED", "tasks": [{"id": task_id}], "project": project}
            case _:
                task_id = rng.choice(list(standin.tasks))
                skipped = rng.random() < 0.1
                event = standin.annotate(task_id, [region(rng)], skipped=skipped)
        sent.append(json.dumps(event).encode())
    return sent


def held_by(standin: LabelStudioStandin, project_id: int) -> list[tuple[Any, ...]]:
    """Label Studio's annotations of a project: number, task, address, regions, skipped."""
    return [
        (
            row["id"],
            row["task"],
            standin.tasks[row["task"]]["data"]["image"],
            [one["id"] for one in row["result"]],
            row["was_cancelled"],
        )
        for row in sorted(standin.annotations.values(), key=lambda row: row["id"])
        if row["project"] == project_id
    ]


def noted(connection: redis.Redis, project_id: int) -> list[tuple[Any, ...]]:
    """The same of the ledger."""
    return [
        (
            entry.annotation_id,
            entry.task_id,
            entry.data["image"],
            [one["id"] for one in entry.result],
            entry.skipped,
        )
        for entry in Ledger(LedgerStore(connection)).entries(str(project_id))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_equals_what_label_studio_holds(
    serve: Serve, connection: redis.Redis, label_studio: LabelStudioStandin, seed: int
) -> None:
    rng = random.Random(seed)
    sent = a_busy_hour(label_studio, rng)
    burst = sent * 2
    rng.shuffle(burst)
    servers = [serve(label_studio_url=label_studio.url) for _ in range(2)]

    def post(numbered: tuple[int, bytes]) -> int:
        number, content = numbered
        return servers[number % 2].post("/webhook", content=content).status_code

    with ThreadPoolExecutor(AT_ONCE) as team:
        statuses = list(team.map(post, enumerate(burst)))
    assert statuses == [200] * (2 * EVENTS)
    for project_id in PROJECTS:
        held = held_by(label_studio, project_id)
        assert len(held) > EVENTS / 8, "enough is left to be compared"
        assert noted(connection, project_id) == held
    # Label Studio's own list agrees, and one training of each project waits.
    settings = load_settings()
    with LabelStudioClient(label_studio.url, SecretStr(label_studio.api_key), 10.0) as client:
        ledger = Ledger(LedgerStore(connection))
        for project_id in PROJECTS:
            report = Sync(ledger, client, str(project_id)).run(whole=True)
            assert (report.changed, report.unchanged) == (0, False)
    assert settings.train_every < EVENTS / 8
    waiting = queue(connection, "train").get_jobs()
    assert sorted(job.args[0]["project_id"] for job in waiting) == ["1", "2"]

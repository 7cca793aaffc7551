"""Two projects that train at once on one Redis, with three workers that train."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from rq.serializers import JSONSerializer

from backend.jobs.queues import SafeJob, queue
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.jobs.training import request_training
from backend.labelstudio.events import parse_event
from backend.learning.ledger import Ledger
from backend.learning.versions import HeadVersions
from backend.settings import Settings
from backend.store.fleet import Fleet
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from tests.jobs.conftest import RECTANGLES, PictureServer
from tests.jobs.processes import environment, ticking
from tests.jobs.training_process import MET

WORKERS, ROUNDS, PER_ROUND = 3, 4, 2
PROJECTS = {"1": ("Left", 0.0), "2": ("Right", 50.0)}
"""Label and left edge in percent of every box of a project."""


@pytest.fixture
def trained(
    settings: Callable[..., Settings], connection: redis.Redis
) -> Iterator[tuple[Settings, Supervisor]]:
    """Settings and a supervisor of ready workers."""
    own = settings(allowed_hosts=("127.0.0.1",), fetch_threads=2, train_every=10**6)
    for project_id, (label, _) in PROJECTS.items():
        ProjectStore(connection).remember_setup(
            project_id,
            label_config=RECTANGLES.replace("Thing", label),
            extra_params={},
            hostname="",
        )
    running = Supervisor(
        own,
        connection,
        [Slot(number, "cpu", 1, "train") for number in range(WORKERS)],
        environment(own),
        command=lambda slot, name: [sys.executable, "-m", "tests.jobs.training_process", name],
        stop_grace_s=5.0,
    )
    try:
        running.start()
        fleet = Fleet(connection)
        ticking(
            running,
            lambda: sum(one.state == "ready" for one in fleet.alive(5)) == WORKERS,
            timeout_s=180,
        )
        yield own, running
    finally:
        running.stop()


def accept(connection: redis.Redis, project_id: str, task_id: int, address: str) -> None:
    """A person's box on a task of the project."""
    label, left_pct = PROJECTS[project_id]
    box = {"x": left_pct, "y": 10, "width": 50, "height": 60, "rotation": 0}
    region = {
        "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 96, "original_height": 96, "image_rotation": 0,
        "value": {**box, "rectanglelabels": [label]},
    }  # fmt: skip
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": task_id, "task": task_id, "result": [region], "completed_by": 1,
                       "updated_at": "2026-01-01T00:00:01Z"},
        "task": {"id": task_id, "data": {"image": address}},
        "project": {"id": int(project_id)},
    }  # fmt: skip
    Ledger(LedgerStore(connection)).apply(parse_event(event))


@pytest.mark.slow
def test_no_head_is_mixed_up_and_none_is_lost(
    trained: tuple[Settings, Supervisor], connection: redis.Redis, pictures: PictureServer
) -> None:
    settings, supervisor = trained
    tasks: dict[str, set[int]] = {project_id: set() for project_id in PROJECTS}

    def ask(project_id: str) -> None:
        request_training(connection, settings, project_id, time.time(), asked=True)

    def idle() -> bool:
        # Who asked while one ran has another follow it.
        asked = LedgerStore(connection).changed_projects()
        waiting = queue(connection, "train")
        return not asked and not waiting.count and not waiting.started_job_registry.count

    for number in range(ROUNDS):
        for project_id in PROJECTS:
            first = 1000 * int(project_id) + number * PER_ROUND
            for task_id, address in enumerate(pictures.add(PER_ROUND, first), first):
                accept(connection, project_id, task_id, address)
                tasks[project_id].add(task_id)
        # Both at once, and from several sides.
        with ThreadPoolExecutor(8) as team:
            list(team.map(ask, [*PROJECTS] * 4))
        ticking(supervisor, idle, timeout_s=120)
    assert connection.exists(MET), "two fits were under way at the same time"

    ended = queue(connection, "train").finished_job_registry.get_job_ids()
    outcomes: dict[str, list[Any]] = {project_id: [] for project_id in PROJECTS}
    for job in SafeJob.fetch_many(ended, connection=connection, serializer=JSONSerializer):
        assert job is not None
        outcomes[job.meta["project"]].append(job.return_value())
    versions = HeadVersions(HeadStore(connection, most=settings.heads_kept))
    for project_id, (label, left_pct) in PROJECTS.items():
        published = sorted(one["head"] for one in outcomes[project_id] if one["published"])
        metas = versions.metas(project_id)
        assert sorted(metas) == published == list(range(1, len(published) + 1))
        assert len(published) >= ROUNDS, outcomes[project_id]
        assert versions.current(project_id).number == published[-1]
        assert set(metas[published[-1]].task_ids) == tasks[project_id]
        for head, meta in metas.items():
            assert meta.labels == (label,)
            assert set(meta.task_ids) <= tasks[project_id]
            boxes = json.loads(versions.content(project_id, head))
            assert list(boxes) == [label]
            assert boxes[label][0] == pytest.approx(left_pct / 100, abs=0.02)

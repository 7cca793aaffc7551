"""Two servers, three workers and two that train on one Redis, with two projects at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from tests.jobs.conftest import RECTANGLES, PictureServer
from tests.jobs.whole_backend import WholeBackend, answered

pytestmark = pytest.mark.slow

Until = Callable[..., None]

TAUGHT = 6
ASKED = 30

LABEL = {"1": "Cat", "2": "Dog"}
CONFIG = {project: RECTANGLES.replace("Thing", label) for project, label in LABEL.items()}
BOX = {"1": (10.0, 20.0, 30.0, 40.0), "2": (50.0, 40.0, 25.0, 35.0)}
"""In percent: left, top, width, height; where each project's things are."""


def accepted(project: str, number: int, address: str) -> Mapping[str, Any]:
    """What Label Studio reports when a person has labelled a task."""
    left, top, width, height = BOX[project]
    region = {
        "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": 96, "original_height": 96, "image_rotation": 0,
        "value": {"x": left, "y": top, "width": width, "height": height, "rotation": 0,
                  "rectanglelabels": [LABEL[project]]},
    }  # fmt: skip
    annotation = {
        "id": number, "task": number, "result": [region], "completed_by": 1,
        "updated_at": "2026-01-01T00:00:01Z",
    }  # fmt: skip
    return {
        "action": "ANNOTATION_CREATED",
        "annotation": annotation,
        "task": {"id": number, "data": {"image": address}},
        "project": {"id": int(project)},
    }


def test_every_task_is_answered_once_and_heads_do_not_mix(
    tmp_path: Path, pictures: PictureServer, until: Until
) -> None:
    taught = {project: pictures.add(TAUGHT, first=1000 * int(project)) for project in CONFIG}
    asked = {project: pictures.add(ASKED, first=1000 * int(project) + 100) for project in CONFIG}
    after = {project: pictures.add(2, first=1000 * int(project) + 900) for project in CONFIG}
    with WholeBackend(tmp_path, until, train_every=TAUGHT, train_idle_s=3600.0) as whole:
        servers = [whole.server(), whole.server()]
        whole.machine(2, train=1)
        whole.machine(1, train=1)
        for project, config in CONFIG.items():
            body = {"project": f"{project}.1795224262", "schema": config}
            httpx.post(f"{servers[0]}/setup", json=body, timeout=30.0).raise_for_status()

        # Both projects ask both servers for the same, while both are being taught.
        calls = [
            (project, whole.ask(url, part, project=project, label_config=CONFIG[project]))
            for project in CONFIG
            for url in servers
            for part in (asked[project][:20], asked[project][10:])
        ]
        events = [
            (servers[number % 2], accepted(project, 100 * int(project) + number, address))
            for project in CONFIG
            for number, address in enumerate(taught[project])
        ]
        for url, event in events * 2:  # each comes twice, once to each server
            httpx.post(f"{url}/webhook", json=event, timeout=30.0).raise_for_status()
        for project, call in calls:
            results = answered(call)
            assert len(results) == 20
            assert all(entry["result"] for entry in results)
            labels = {found_label(entry) for entry in results}
            assert labels == {LABEL[project]}

        heads = HeadStore(whole.connection, most=20)
        until(lambda: all(heads.current(project).number for project in CONFIG), 60)
        until(lambda: not whole.running() and not whole.queued(), 60)
        for project, config in CONFIG.items():
            number = heads.current(project).number
            head = json.loads(heads.content(project, number) or b"")
            left, top, width, height = (part / 100 for part in BOX[project])
            assert head == {
                LABEL[project]: pytest.approx([left, top, left + width, top + height], abs=1e-4)
            }
            told = [
                answered(whole.ask(url, after[project], project=project, label_config=config))
                for url in servers
            ]
            assert told[0] == told[1]
            for entry in told[0]:
                (region,) = entry["result"]
                value = region["value"]
                box = [value[side] for side in ("x", "y", "width", "height")]
                assert box == pytest.approx(BOX[project], abs=0.1)
                assert f"-{number}-" in entry["model_version"]
            assert len(LedgerStore(whole.connection).read(project).annotations) == TAUGHT

        assert whole.claims() == []
        # A version is a promise: no task was computed twice under the same one.
        assert whole.counted("trainings") >= 2
        assert whole.counted("tasks_predicted") == whole.predictions()


def found_label(entry: Mapping[str, Any]) -> str:
    """The one label of a prediction."""
    (label,) = {name for region in entry["result"] for name in region["value"]["rectanglelabels"]}
    return str(label)

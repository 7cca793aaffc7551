"""A project of many tasks through the queue, by the real worker and by workers that sleep."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from backend.evaluation.listed_project import KEY, ListedProject
from backend.evaluation.scale import ScalePlan, _Memory, measure_scale
from backend.evaluation.served_backend import label_config
from backend.evaluation.subject import Subject, measured_settings
from backend.labelstudio.client import LabelStudioClient


def client_of(project: ListedProject) -> LabelStudioClient:
    return LabelStudioClient(project.url, SecretStr(KEY), 5.0)


def test_a_listed_project_gives_what_lacks_a_prediction_and_counts_what_comes_twice() -> None:
    with (
        ListedProject([f"http://h/{n}.jpg" for n in range(5)], label_config("cam")) as project,
        client_of(project) as client,
    ):
        assert client.count_lacking(1, "v") == 5
        assert client.import_predictions(1, [{"task": 2, "result": []}]) == 1
        pages = list(client.tasks_lacking_version(1, "v", page_size=3))
        assert [[task.id for task in page] for page in pages] == [[1, 3, 4], [5]]
        assert pages[0][1].data == {"image": "http://h/2.jpg"}
        assert (project.stored, project.twice) == (1, 0)
        client.import_predictions(1, [{"task": 2, "result": []}])
        assert (project.stored, project.twice) == (1, 1)
        assert httpx.get(f"{project.url}/api/projects/1/").json()["id"] == 1


def test_growth_is_that_of_the_end_over_that_after_settling() -> None:
    memory = _Memory(0)
    memory.taken = [(100, 10 * 2**20), (1000, 200 * 2**20), (2000, 204 * 2**20)]
    assert memory.growth() == {
        "settled_mb": 200.0,
        "end_mb": 204.0,
        "growth_percent": pytest.approx(2.0),
    }
    memory.taken = memory.taken[:2]
    assert memory.growth()["growth_percent"] is None


@pytest.mark.slow
@pytest.mark.parametrize("sleepers", [0, 3])
def test_every_task_is_stored_once(tmp_path: Path, sleepers: int) -> None:
    settings = measured_settings(Subject.of("embedded", None, "cpu", 1), tmp_path)
    plan = ScalePlan(tasks=200, sleepers=sleepers, compute_ms=1.0)
    told: list[str] = []
    found = measure_scale(plan, settings, tmp_path, told.append)
    assert told == ["starting workers", "200 tasks"]
    values = found.values
    assert (values["tasks_s"] or 0) > 0
    # A prediction is kept, and more than one command is needed to queue and to keep it.
    assert (values["redis_bytes_per_task"] or 0) > 200
    assert (values["redis_commands_per_task"] or 0) > 5
    assert (values["redis_cpu_ms_per_task"] or 0) > 0
    assert (values["worker_cpu_ms_per_task"] or 0) > 0
    if sleepers:
        assert 0 < (values["share_of_best"] or 0) <= 1
    else:
        assert values["growth_percent"] is None, "200 tasks settle nothing"

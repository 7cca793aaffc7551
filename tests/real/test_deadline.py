"""Four hundred tasks in one call: an answer in time, the rest by bulk import."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_user import LabelStudioUser
from tests.real.picture_server import PictureServer
from tests.real.projects import ONE_LABEL
from tests.real.recording_proxy import RecordingProxy

TASKS = 400
DEADLINE_S = 5.0


@pytest.fixture
def slow_backend(backend_env: dict[str, str], tmp_path: Path) -> Iterator[BackendProcess]:
    """One worker that fetches four pictures at a time; the deadline alone ends a call."""
    env = {
        **backend_env,
        "WORKERS": "1",
        "FETCH_THREADS": "4",
        "PREDICT_DEADLINE": str(DEADLINE_S),
        "PREDICT_INLINE_TASKS": str(TASKS),
    }
    with BackendProcess(tmp_path, env=env) as process:
        yield process


def test_a_large_call_is_answered_in_time_and_completed_later(
    user: LabelStudioUser, slow_backend: BackendProcess, pictures: PictureServer
) -> None:
    project_id = user.create_project("Deadline", ONE_LABEL)
    user.import_tasks(project_id, [{"image": url} for url in pictures.addresses("deadline", TASKS)])
    task_ids = [task["id"] for task in user.tasks(project_id)]
    assert len(task_ids) == TASKS
    pictures.delay_s = 0.4  # ten pictures a second: the deadline comes long before the end
    with RecordingProxy(slow_backend.url) as proxy:
        user.connect_backend(project_id, proxy.url)
        user.retrieve_predictions(project_id)
        pictures.delay_s = 0.0
        (call,) = [call for call in proxy.calls if call.path == "/predict"]
    results = json.loads(call.reply)["results"]
    inline = sum(bool(result) for result in results)
    assert len(results) == TASKS
    assert call.took_s < DEADLINE_S + 1
    assert 0 < inline < TASKS

    until_s = time.monotonic() + 90
    while len(user.predictions(project_id)) < TASKS and time.monotonic() < until_s:
        time.sleep(1)
    time.sleep(2)  # long enough for a second import of the same tasks to show
    predictions = user.predictions(project_id)
    assert sorted(p["task"] for p in predictions) == task_ids
    assert len({p["model_version"] for p in predictions}) == 1

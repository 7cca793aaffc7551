"""A whole project through the queue, interrupted on the way."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.children import Child
from backend.evaluation.labelstudio_user import LabelStudioUser
from tests.real.picture_server import PictureServer
from tests.real.projects import ONE_LABEL, run_command

TASKS = 60


def test_an_interrupted_run_goes_on_without_duplicates(
    user: LabelStudioUser,
    backend: BackendProcess,
    pictures: PictureServer,
    tmp_path: Path,
    until: Callable[..., None],
) -> None:
    project_id = user.create_project("Pre-annotate", ONE_LABEL)
    gone = f"http://{pictures.host}/missing.jpg"
    addresses = [*pictures.addresses("preannotate", TASKS), gone]
    user.import_tasks(project_id, [{"image": url} for url in addresses])
    # The command stores what is done in small parts, so that it can be caught in between.
    env = {**backend.env, "PUSH_BATCH": "8", "CARRIER_TASKS": "8"}
    arguments = ("preannotate", "--project", str(project_id), "--json")
    first = Child(
        "preannotate",
        [sys.executable, "-m", "backend", *arguments],
        env=env,
        log_path=tmp_path / "first.log",
    )
    # Slow enough that a busy machine notices the first predictions before the last are made.
    pictures.delay_s = 2.0
    with first:
        until(lambda: user.predictions(project_id) or first.returncode is not None, timeout_s=60)
        first.signal(signal.SIGINT)
        assert first.wait(20) == 130
    pictures.delay_s = 0.0
    assert 0 < len(user.predictions(project_id)) < TASKS
    assert f"preannotate --project {project_id}" in first.tail()

    second = run_command(*arguments, env=env)
    assert second.returncode == 1, second.stderr  # one task cannot be done
    report = json.loads(second.stdout)
    task_ids = [task["id"] for task in user.tasks(project_id)]
    told = [(failure["task_id"], failure["code"]) for failure in report["failures"]]
    assert told == [(task_ids[TASKS], "media_missing")]
    assert sorted(p["task"] for p in user.predictions(project_id)) == task_ids[:TASKS]
    assert report["failures"][0]["reason"]

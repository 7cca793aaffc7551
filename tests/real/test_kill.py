"""A worker killed in the middle of its job."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.settings import load_settings
from tests.real.picture_server import PictureServer
from tests.real.projects import ONE_LABEL, worker_processes

TASKS = 32


def test_tasks_of_a_killed_worker_are_predicted_once_in_the_same_call(
    user: LabelStudioUser,
    backend: BackendProcess,
    pictures: PictureServer,
    until: Callable[..., None],
) -> None:
    project_id = user.create_project("Kill", ONE_LABEL)
    user.import_tasks(project_id, [{"image": url} for url in pictures.addresses("kill", TASKS)])
    user.connect_backend(project_id, backend.url)
    workers = worker_processes(backend)
    assert len(workers) == 2
    pictures.delay_s = 0.5
    asked_before = len(pictures.asked)
    call = threading.Thread(target=user.retrieve_predictions, args=(project_id,))
    call.start()
    # More than one worker's threads ask for at a time: both hold a carrier now, and neither
    # has had the time to finish it.
    alone = load_settings().fetch_threads
    until(lambda: len(pictures.asked) - asked_before > alone)
    workers[0].send_signal(signal.SIGKILL)
    call.join(90)
    pictures.delay_s = 0.0
    assert not call.is_alive()

    task_ids = [task["id"] for task in user.tasks(project_id)]
    assert sorted(p["task"] for p in user.predictions(project_id)) == task_ids
    assert len(task_ids) == TASKS
    # A picture was asked for twice, so the kill did interrupt a job.
    asked = [path for path in pictures.asked[asked_before:] if path.startswith("/kill/")]
    assert len(asked) > len(set(asked)) == TASKS
    until(lambda: backend.health()["workers"]["states"]["ready"] == 2)
    assert workers[0].pid not in {process.pid for process in worker_processes(backend)}

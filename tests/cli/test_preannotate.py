from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backend.cli import preannotate
from backend.errors import LabelStudioAuth, LabelStudioError, StoreUnavailable
from backend.jobs.bulk import BulkReport, TaskFailure
from backend.jobs.enqueue import Dispatcher
from backend.settings import Settings
from backend.store.deliveries import Deliveries
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet, WorkerInfo
from tests.jobs.conftest import Road
from tests.jobs.conftest import backbone as backbone
from tests.jobs.conftest import keyed_road as keyed_road
from tests.jobs.conftest import label_studio as label_studio
from tests.jobs.conftest import make_road as make_road
from tests.jobs.conftest import pictures as pictures
from tests.labelstudio_standin import LabelStudioStandin

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(keyed_road: Road, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with a worker beside it: exit status, output, errors."""
    settings = keyed_road.settings
    monkeypatch.setenv("BACKBONE", settings.backbone)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key.get_secret_value())
    monkeypatch.setenv("CARRIER_TASKS", "4")
    app = _app()

    def invoke(*arguments: str, worker: bool = True) -> tuple[int, str, str]:
        outcome: list[Any] = []
        command = threading.Thread(
            target=lambda: outcome.append(CliRunner().invoke(app, list(arguments)))
        )
        command.start()
        while command.is_alive():
            if worker:
                keyed_road.work()  # in the main thread: RQ's time limits are signals
            command.join(0.02)
        (result,) = outcome
        return result.exit_code, result.stdout, result.stderr

    return invoke


@pytest.mark.slow
def test_a_project_is_predicted_once(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    ids = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(10)])
    status, output, errors = run("--project", "1", "--json")
    assert status == 0, errors
    assert json.loads(output)["stored"] == 10
    version = json.loads(output)["version"]
    assert sorted(label_studio.stored(version)) == ids

    status, output, _ = run("--project", "1", "--json", worker=False)
    assert (status, json.loads(output)["tasks"]) == (0, 0)
    assert "nothing to do" in run("--project", "1", worker=False)[1]
    assert len(label_studio.predictions) == 10


@pytest.mark.slow
def test_a_call_of_many_carriers_is_waited_for_to_its_end(
    run: Run,
    keyed_road: Road,
    label_studio: LabelStudioStandin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREDICT_INLINE_TASKS", "1")
    for number in range(4):  # so that one call takes several carriers
        info = WorkerInfo(f"other-{number}", "h", 1, "cpu", "mobilenet_v2", "ready")
        Fleet(keyed_road.connection).beat(info)
    keyed_road.pictures.on_get = lambda path: time.sleep(0.1)
    label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(12)])
    status, output, errors = run("--project", "1", "--json")
    assert json.loads(output)["failures"] == [], errors
    assert (status, json.loads(output)["stored"]) == (0, 12)


@pytest.mark.slow
def test_what_label_studio_is_just_storing_is_not_pushed_as_well(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    ids = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(3)])
    config = label_studio.projects[1]["label_config"]
    Fleet(keyed_road.connection).publish_identity(keyed_road.backbone.identity)
    version = keyed_road.dispatcher.model_version("1", config)
    deliveries = Deliveries(keyed_road.connection)
    assert deliveries.take_inline("1", version, ids[:1], time.time()) == {ids[0]}
    run("--project", "1")
    assert sorted(label_studio.stored(version)) == ids[1:]


@pytest.mark.slow
def test_a_version_that_comes_into_use_meanwhile_is_the_one_that_is_stored(
    run: Run,
    keyed_road: Road,
    label_studio: LabelStudioStandin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(3)])
    true, asked = Dispatcher.model_version, []

    def first_an_old_one(self: Dispatcher, project_id: str, label_config: str) -> str:
        asked.append(project_id)
        return "auto-0-old" if len(asked) == 1 else true(self, project_id, label_config)

    monkeypatch.setattr(Dispatcher, "model_version", first_an_old_one)
    status, output, errors = run("--project", "1", "--json")
    told = json.loads(output.splitlines()[-1])  # the log of a test stands before it
    assert (status, told["stored"]) == (0, 3), errors
    assert sorted(label_studio.stored(told["version"])) == ids
    assert not label_studio.stored("auto-0-old")


def test_failures_are_listed_with_their_reasons(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    addresses = [*keyed_road.pictures.add(2), f"{keyed_road.pictures.url}/lost.png"]
    ids = label_studio.add_tasks([{"image": a} for a in addresses])
    label_studio.add_tasks([{"text": "no picture"}])
    status, output, _ = run("--project", "1")
    assert status == 1
    assert "2 of 4 tasks stored, 2 failed" in output
    assert f"task {ids[2]}: media_missing" in output
    assert "task 4: media_missing" in output
    assert sorted(label_studio.stored()) == ids[:2]


@pytest.mark.slow
def test_what_label_studio_rejects_is_listed(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(1)])
    label_studio.refused_labels.add("Thing")
    status, output, _ = run("--project", "1")
    assert status == 1
    assert "not_stored: 1" in output


@pytest.mark.slow
def test_only_new_leaves_tasks_with_a_prediction_alone(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    ids = label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(2)])
    label_studio.store(ids[0], {"model_version": "older"})
    status, _, errors = run("--project", "1", "--only-new")
    assert status == 0, errors
    assert sorted(label_studio.stored()) == ids
    run("--project", "1", "--all")
    assert sorted(label_studio.stored()) == [ids[0], ids[0], ids[1]]


def test_an_interrupted_run_goes_on_without_a_worker(
    run: Run, keyed_road: Road, label_studio: LabelStudioStandin
) -> None:
    data = [{"image": a} for a in keyed_road.pictures.add(3)]
    ids = label_studio.add_tasks(data)
    keyed_road.predict(keyed_road.call_of(data, first_id=None))  # predicted, never pushed
    status, output, errors = run("--project", "1", "--json", worker=False)
    assert (status, json.loads(output)["stored"]) == (0, 3), errors
    assert sorted(label_studio.stored()) == ids
    assert Deliveries(keyed_road.connection).projects_with_pending() == []


def test_an_interrupt_leaves_no_job_behind(
    keyed_road: Road,
    label_studio: LabelStudioStandin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label_studio.add_tasks([{"image": a} for a in keyed_road.pictures.add(3)])
    settings = keyed_road.settings
    monkeypatch.setenv("BACKBONE", settings.backbone)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key.get_secret_value())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dispatcher, "wait_blocking", interrupted)  # as Ctrl-C while it waits
    result = CliRunner().invoke(_app(), ["--project", "1"])
    assert result.exit_code == preannotate.INTERRUPTED
    assert "go on with: python -m backend preannotate --project 1" in result.stderr
    assert keyed_road.waiting("bulk") == 0


def test_no_project_named_exits_with_2(run: Run) -> None:
    status, _, errors = run(worker=False)
    assert status == 2
    assert "--project" in errors


def test_what_cannot_run_is_told(
    keyed_road: Road, label_studio: LabelStudioStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = keyed_road.settings
    monkeypatch.setenv("BACKBONE", settings.backbone)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key.get_secret_value())
    with pytest.raises(LabelStudioError, match="404"):
        CliRunner().invoke(_app(), ["--project", "99"], catch_exceptions=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(LabelStudioAuth, match="LABEL_STUDIO_API_KEY"):
        CliRunner().invoke(_app(), ["--project", "1"], catch_exceptions=False)


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(preannotate.command)
    return app


def test_the_redis_of_a_running_backend_is_found(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    nowhere = settings(redis_url="", data_dir=tmp_path)
    with pytest.raises(StoreUnavailable, match="no backend runs"):
        preannotate.find_redis(nowhere)
    with EmbeddedRedis(tmp_path) as url:
        assert preannotate.find_redis(nowhere) == url
    with pytest.raises(StoreUnavailable):
        preannotate.find_redis(nowhere)


def test_a_long_list_of_failures_is_cut() -> None:
    failures = [TaskFailure(i, "media_missing", "gone") for i in range(60)]
    text = preannotate.summary(BulkReport(1, "v", 60, 0, failures))
    assert "media_missing: 60" in text
    assert "task 49:" in text
    assert "task 50:" not in text
    assert "10 more" in text

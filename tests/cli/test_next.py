"""`next` against a stand-in of Label Studio and a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backend.cli.app import build_app
from backend.domain import Predicted
from backend.errors import LabelStudioAuth, UnknownName
from backend.jobs.addresses import reduce_data
from backend.labelstudio.events import parse_event
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.ledger import Ledger
from backend.store.ledgers import LedgerStore
from backend.store.predictions import task_key
from backend.store.projects import ProjectStore
from tests.jobs.conftest import RECTANGLES, Road
from tests.jobs.conftest import backbone as backbone
from tests.jobs.conftest import keyed_road as keyed_road
from tests.jobs.conftest import label_studio as label_studio
from tests.jobs.conftest import make_road as make_road
from tests.jobs.conftest import pictures as pictures
from tests.labelstudio_standin import LabelStudioStandin

Run = Callable[..., Result]


@pytest.fixture
def run(keyed_road: Road, monkeypatch: pytest.MonkeyPatch) -> Run:
    settings = keyed_road.settings
    monkeypatch.setenv("BACKBONE", settings.backbone)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ALLOWED_HOSTS", "127.0.0.1")
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key.get_secret_value())

    def invoke(*arguments: str) -> Result:
        given = ["next", "--project", "1", *arguments]
        return CliRunner().invoke(build_app(given), given, catch_exceptions=False)

    return invoke


def predict(road: Road, address: str, score: float) -> None:
    """Keep a prediction of the current version with one box of this score."""
    spec = parse_label_config(RECTANGLES)
    version = road.dispatcher.model_version("1", RECTANGLES)
    region = {
        "id": "a",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 96,
        "original_height": 96,
        "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["Thing"]},
    }
    payload: dict[str, Any] = {"result": [region], "score": score, "model_version": version}
    key = task_key(version, spec.fingerprint, reduce_data(spec, {"image": address}))
    from backend.jobs.process import prediction_cache

    prediction_cache(road.settings, road.connection).put_many({key: Predicted(payload)})


@pytest.fixture
def tasks(keyed_road: Road, label_studio: LabelStudioStandin) -> list[int]:
    """Five tasks: the first one skipped, the last one without a prediction."""
    addresses = keyed_road.pictures.add(5)
    ids = label_studio.add_tasks([{"image": address} for address in addresses])
    ProjectStore(keyed_road.connection).remember_setup(
        "1", label_config=RECTANGLES, extra_params={}, hostname=""
    )
    Ledger(LedgerStore(keyed_road.connection)).apply(
        parse_event(
            {
                "action": "ANNOTATION_CREATED",
                "project": {"id": 1},
                "task": {"id": ids[0], "data": {"image": addresses[0]}},
                "annotation": {"id": 1, "task": ids[0], "result": [], "was_cancelled": True},
            }
        )
    )
    for address, score in zip(addresses, (0.1, 0.9, 0.3, 0.6), strict=False):
        predict(keyed_road, address, score)
    return ids


def test_the_least_certain_open_tasks_come_first(run: Run, tasks: list[int]) -> None:
    told = run("--strategy", "uncertainty", "--count", "2", "--json")
    listed = json.loads(told.stdout)
    assert [row["task"] for row in listed["tasks"]] == [tasks[2], tasks[3]]
    assert listed["tasks"][0] == {"task": tasks[2], "score": 0.3, "labels": ["Thing"]}
    assert "1 open tasks have no prediction" in told.stderr
    assert "preannotate --project 1" in told.stderr


def test_text_is_a_task_a_line(run: Run, tasks: list[int]) -> None:
    lines = run("--strategy", "random").stdout.splitlines()
    assert sorted(int(line.split()[0]) for line in lines) == tasks[1:4]
    for line in lines:
        number, _, address, label = line.split()
        assert address.endswith(f"/projects/1/data?task={number}")
        assert label == "Thing"


def test_nothing_open_lists_nothing(run: Run, keyed_road: Road) -> None:
    ProjectStore(keyed_road.connection).remember_setup(
        "1", label_config=RECTANGLES, extra_params={}, hostname=""
    )
    for strategy in ("uncertainty", "mixed"):
        told = run("--strategy", strategy)
        assert told.stdout == ""
        assert told.stderr == "No task is open: all are annotated or skipped.\n"


def test_an_unknown_strategy_is_told(run: Run, tasks: list[int]) -> None:
    with pytest.raises(UnknownName, match="uncertainty"):
        run("--strategy", "uncertain")


def test_without_a_key_tasks_cannot_be_listed(
    run: Run, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(LabelStudioAuth):
        run()

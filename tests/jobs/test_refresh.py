"""A new head's predictions on their way into Label Studio."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from backend.jobs.process import current
from backend.jobs.prune import prune_versions
from backend.jobs.refresh import show_version
from backend.labelstudio.api_values import Project
from backend.labelstudio.client import LabelStudioClient
from backend.store import keys
from tests.jobs.conftest import RECTANGLES, MakeRoad, Road
from tests.jobs.test_train import Team, region
from tests.labelstudio_standin import LabelStudioStandin

TITLE = "Saliency"


class Studio:
    """A project of eight tasks, three of them labelled, whose backend is ours."""

    def __init__(self, road: Road, standin: LabelStudioStandin, shown: str = TITLE) -> None:
        self.road, self.standin = road, standin
        self.team = Team(road)
        self.ids = standin.add_tasks([{"image": a} for a in road.pictures.add(8)])
        for task_id in self.ids[:3]:
            standin.annotate(task_id, [region()])
        standin.backends.append(
            {"id": 1, "project": 1, "url": "http://b:9090", "title": TITLE, "state": "CO",
             "model_version": self.team.version(), "is_interactive": False}
        )  # fmt: skip
        standin.projects[1]["model_version"] = shown

    def settle(self) -> None:
        """Let both kinds of workers do all there is to do."""
        for _ in range(3):
            self.road.work("train")
            self.road.work()

    def shown(self) -> str:
        return str(self.standin.projects[1]["model_version"])


@pytest.fixture
def make_studio(make_road: MakeRoad, label_studio: LabelStudioStandin) -> Callable[..., Studio]:
    def make(shown: str = TITLE, **overrides: object) -> Studio:
        key = {"label_studio_url": label_studio.url, "label_studio_api_key": label_studio.api_key}
        return Studio(make_road(**key, **overrides), label_studio, shown)

    return make


@pytest.mark.parametrize("shown", [TITLE, "", "mobilenet_v2-0-0a1b2c3d"])
@pytest.mark.slow
def test_unlabelled_tasks_are_predicted_anew_and_shown(
    make_studio: Callable[..., Studio], shown: str
) -> None:
    studio = make_studio(shown)
    assert studio.team.train()["published"] is True
    studio.settle()
    version = studio.team.version()
    assert sorted(studio.standin.stored(version)) == studio.ids[3:], "each once"
    assert studio.shown() == version


def test_a_version_that_somebody_chose_stays(make_studio: Callable[..., Studio]) -> None:
    studio = make_studio("a model of our own")
    studio.team.train()
    studio.settle()
    assert len(studio.standin.stored(studio.team.version())) == 5
    assert studio.shown() == "a model of our own"


@pytest.mark.parametrize(
    ("setting", "stored"), [("refresh_predictions", 0), ("refresh_model_version", 5)]
)
def test_it_can_be_switched_off(
    make_studio: Callable[..., Studio], setting: str, stored: int
) -> None:
    studio = make_studio(**{setting: False})
    studio.team.train()
    studio.settle()
    assert len(studio.standin.stored(studio.team.version())) == stored
    assert studio.shown() == TITLE


def test_nothing_is_shown_before_all_is_there(make_studio: Callable[..., Studio]) -> None:
    studio = make_studio()
    studio.team.train()
    assert studio.shown() == TITLE
    assert studio.standin.stored() == []
    studio.settle()
    assert studio.shown() == studio.team.version()


def test_where_every_task_is_labelled_nothing_can_be_shown(
    make_studio: Callable[..., Studio],
) -> None:
    studio = make_studio()
    for task_id in studio.ids[3:]:
        studio.standin.annotate(task_id, [region()])
    studio.team.train()
    studio.settle()
    assert studio.standin.stored() == []
    assert studio.shown() == TITLE


@pytest.mark.slow
def test_a_newer_head_takes_the_place_of_a_refresh_under_way(
    make_studio: Callable[..., Studio],
) -> None:
    studio = make_studio()
    studio.team.train()
    studio.road.work("train")  # its predictions wait
    first = studio.team.version()
    assert studio.road.waiting("bulk") > 0
    studio.standin.annotate(studio.ids[3], [region()])
    studio.team.train()
    assert studio.road.waiting("bulk") == 1
    studio.settle()
    assert studio.standin.stored(first) == []
    assert sorted(studio.standin.stored(studio.team.version())) == studio.ids[4:]
    assert studio.shown() == studio.team.version() != first


@pytest.mark.slow
def test_a_refresh_that_begins_while_an_older_one_ends_is_not_forgotten(
    make_studio: Callable[..., Studio],
) -> None:
    studio = make_studio()
    studio.team.train()
    studio.settle()
    connection, newer = studio.road.connection, "mobilenet_v2-9-0a1b2c3d"
    studio.standin.store(studio.ids[-1], {"result": [region()], "model_version": newer})
    studio.standin.projects[1]["model_version"] = TITLE

    def begin(version: str) -> None:
        connection.set(keys.refresh("1"), json.dumps({"version": version, "jobs": []}))

    class Meanwhile(LabelStudioClient):
        def patch_project(self, project_id: int, fields: Mapping[str, Any]) -> Project:
            if fields["model_version"] != newer:
                begin(newer)
            return super().patch_project(project_id, fields)

    begin(studio.team.version())
    key = SecretStr(studio.standin.api_key)
    with Meanwhile(studio.standin.url, key, 5.0) as client:
        assert show_version(studio.road.settings, connection, client, "1")
    assert studio.shown() == newer
    assert not connection.exists(keys.refresh("1"))


@pytest.mark.slow
def test_old_versions_are_deleted_on_request(make_studio: Callable[..., Studio]) -> None:
    studio = make_studio(refresh_model_version=False)
    old = studio.team.version()
    for task_id in studio.ids[:2]:
        studio.standin.store(task_id, {"result": [], "score": 0.0, "model_version": old})
    studio.standin.store(studio.ids[0], {"result": [], "model_version": "not ours"})
    studio.team.train()
    studio.settle()
    client = current().label_studio
    assert isinstance(client, LabelStudioClient)
    version = studio.road.dispatcher.model_version("1", RECTANGLES)
    assert prune_versions(client, 1, version) == {old: 2}
    assert studio.standin.stored(old) == []
    assert len(studio.standin.stored(version)) == 5
    assert len(studio.standin.stored("not ours")) == 1
    assert studio.shown() == TITLE, "live predictions go on"
    assert prune_versions(client, 1, version) == {}

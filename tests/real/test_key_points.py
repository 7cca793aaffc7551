"""A person's pose in a real Label Studio: accepted points teach parts, more teach them better."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.cli.demo import template_text
from backend.domain import U8Array
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.drawn_people import PARTS, DrawnPerson, draw_person
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.regions import read_regions
from backend.learning.nearness import near_px
from tests.real.annotating import TRAINS_WHEN_ASKED
from tests.real.projects import run_command
from tests.real.screens import SCREENSHOTS, open_browser, open_task, save_screenshot

CONFIG = template_text("pose")
SPEC = parse_label_config(CONFIG)
PICTURES, FIRST, MORE = 18, 2, 8

Predictions = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Posed:
    """before: predictions by task before anything was accepted. early, late: of the tasks that
    nobody annotated, after FIRST and after MORE accepted ones; labelled: their truth.
    """

    labelled: Mapping[int, DrawnPerson]
    before: Predictions
    early: Predictions
    late: Predictions
    outcomes: Sequence[Mapping[str, Any]]
    shown_bgr: U8Array


@pytest.fixture(scope="module")
def pose_backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """A backend that trains only when it is told to."""
    env = {**backend_env, **TRAINS_WHEN_ASKED}
    with BackendProcess(tmp_path_factory.mktemp("pose_backend"), env=env) as process:
        yield process


@pytest.fixture(scope="module")
def posed(
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    pose_backend: BackendProcess,
    until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Posed:
    project_id = user.create_project("A pose", CONFIG)
    people = _write_people(tmp_path_factory.mktemp("people"))
    user.upload(project_id, list(people))
    by_name = {path.name: person for path, person in people.items()}
    truth = {
        int(task["id"]): by_name[task["data"]["image"].rpartition("/")[2].partition("-")[2]]
        for task in user.tasks(project_id)
    }
    user.connect_backend(project_id, pose_backend.url)
    user.retrieve_predictions(project_id)
    before = {int(one["task"]): one for one in user.predictions(project_id)}
    tasks = list(truth)
    left = tasks[MORE:]
    outcomes = []

    def learn() -> Predictions:
        trained = run_command("train", "--project", str(project_id), "--json", env=pose_backend.env)
        assert trained.returncode == 0, trained.stderr
        outcomes.append(json.loads(trained.stdout))
        version = outcomes[-1]["version"]

        def told() -> dict[int, Mapping[str, Any]]:
            known = user.predictions(project_id)
            return {int(one["task"]): one for one in known if one["model_version"] == version}

        until(lambda: set(told()) >= set(left), timeout_s=90, pause_s=0.25)
        return {task: one for task, one in told().items() if task in left}

    for task in tasks[:FIRST]:
        user.annotate(task, _regions(truth[task]), parent_prediction=None, lead_time_s=8.0)
    early = learn()
    for task in tasks[FIRST:MORE]:
        shown = next(
            one
            for one in user.predictions(project_id)
            if int(one["task"]) == task and one["model_version"] == outcomes[0]["version"]
        )
        user.annotate(
            task, _moved(shown, truth[task]), parent_prediction=int(shown["id"]), lead_time_s=8.0
        )
    late = learn()
    with open_browser() as browser:
        page = open_task(browser, labelstudio, project_id, left[0])
        page.wait_for_selector(".lsf-outliner-item")
        page.wait_for_timeout(1000)  # the points are drawn after they are listed
        # A palette, with which the file is saved, may not hold the colour of a point.
        seen = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        save_screenshot(page, SCREENSHOTS / "pose.png")
    return Posed(
        {task: truth[task] for task in left},
        before,
        early,
        late,
        outcomes,
        np.asarray(seen, np.uint8),
    )


def test_nothing_is_told_of_parts_that_no_class_names(posed: Posed) -> None:
    assert len(posed.before) == PICTURES
    assert all(one["result"] == [] for one in posed.before.values())


def test_a_few_accepted_people_teach_every_part(posed: Posed) -> None:
    assert [outcome["published"] for outcome in posed.outcomes] == [True, True]
    assert set(posed.outcomes[0]["labels"]) == set(PARTS)
    for task, prediction in posed.early.items():
        wanted = {key: prediction[key] for key in ("result", "score", "model_version")}
        assert check_prediction(wanted, SPEC, {"image": str(task)}) == []
        assert {region["type"] for region in prediction["result"]} == {"keypointlabels"}


def test_more_of_them_bring_points_nearer(posed: Posed) -> None:
    early, late = (_missed_px(told, posed.labelled) for told in (posed.early, posed.late))
    assert late < early
    height, width = next(iter(posed.labelled.values())).rgb_u8.shape[:2]
    assert late < near_px((height, width))
    assert posed.outcomes[-1]["metrics"]["pck"] > posed.outcomes[-1]["metrics"]["pck_of_mean"]


def test_the_editor_shows_the_points(posed: Posed) -> None:
    """Colours of labels are in the picture that were not drawn."""
    for colour in ((225, 29, 72), (236, 72, 153)):  # head and left ankle, in the outliner as well
        far = np.abs(posed.shown_bgr[..., ::-1].astype(int) - colour).max(2)
        assert (far < 40).sum() > 20


def _write_people(folder: Path) -> dict[Path, DrawnPerson]:
    people = {}
    for number in range(PICTURES):
        person = draw_person(number)
        path = folder / f"person-{number:02d}.png"
        path.write_bytes(cv2.imencode(".png", person.rgb_u8[..., ::-1])[1].tobytes())
        people[path] = person
    return people


def _regions(person: DrawnPerson) -> list[dict[str, Any]]:
    """The true points as the editor sends what was clicked."""
    height, width = person.rgb_u8.shape[:2]
    return [
        {
            "id": secrets.token_urlsafe(8),
            "from_name": "part",
            "to_name": "image",
            "type": "keypointlabels",
            "origin": "manual",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": 100 * float(x) / width,
                "y": 100 * float(y) / height,
                "width": 0.75,
                "keypointlabels": [label],
            },
        }
        for label, points in person.points_px.items()
        for x, y in points
    ]


def _moved(shown: Mapping[str, Any], person: DrawnPerson) -> list[dict[str, Any]]:
    """Points told by a prediction in their true places, under their ids; missing ones added."""
    told = {region["value"]["keypointlabels"][0]: region for region in shown["result"]}
    result = []
    for wanted in _regions(person):
        own = told.get(wanted["value"]["keypointlabels"][0])
        kept = {key: own[key] for key in ("id", "score")} if own is not None else {}
        result.append(wanted | kept | ({"origin": "prediction-changed"} if kept else {}))
    return result


def _missed_px(told: Predictions, truth: Mapping[int, DrawnPerson]) -> float:
    """Mean distance of the told points, one that is not told as far as half of the picture."""
    missed = []
    for task, person in truth.items():
        width = person.rgb_u8.shape[1]
        found = {one.label: one.xyxy_px[:2] for one in read_regions(told[task]["result"], SPEC)}
        for label, points in person.points_px.items():
            place = found.get(label)
            far = np.hypot(*(np.array(place) - points[0])) if place is not None else width / 2
            missed.append(float(far))
    return float(np.mean(missed))

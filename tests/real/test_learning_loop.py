"""Thirty pictures, ten of them corrected: the proposals for the other twenty get better."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import redis

from backend.cli.preannotate import find_redis
from backend.domain import Boxes
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.drawn import draw_picture
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.evaluation.matching import Accuracy, accuracy, judge
from backend.evaluation.voc import read_voc
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.learning.ledger import Ledger
from backend.settings import load_settings
from backend.store import keys
from backend.store.connection import connect
from backend.store.ledgers import LedgerStore
from tests.real.annotating import boxes_in, corrected
from tests.real.conftest import DATA
from tests.real.projects import run_command
from tests.real.recording_proxy import RecordingProxy
from tests.real.screens import (
    DOCS_IMAGES,
    SCREENSHOTS,
    open_browser,
    open_task,
    save_screenshot,
    select_first_box,
)

PICTURES = 30
CORRECTED = 10

Predictions = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Played:
    """One loop, played to its end.

    truth: by task, in order; the first ten were corrected. before: the prediction of each
    task as it was retrieved. after: of the untouched tasks, under version_after.
    """

    project_id: int
    backend_id: int
    spec: LabelSpec
    truth: Mapping[int, Boxes]
    annotation_of: Mapping[int, int]
    version_before: str
    version_after: str
    before: Predictions
    after: Predictions
    replies: list[dict[str, Any]]

    @property
    def untouched(self) -> list[int]:
        return [task_id for task_id in self.truth if task_id not in self.annotation_of]

    def accuracy(self, predictions: Predictions) -> Accuracy:
        """How good proposals for the untouched tasks are, label and box."""
        judged = []
        for task_id in self.untouched:
            truth = self.truth[task_id]
            found = boxes_in(predictions[task_id], self.spec, truth.size_hw)
            judged.append(judge(found, truth))
        return accuracy(judged)


@pytest.fixture(scope="module")
def learning_backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """A backend that trains after five annotations, or two seconds after the last one."""
    env = {
        **backend_env,
        "WORKERS": "1",
        "TRAIN_WORKERS": "1",
        "TRAIN_EVERY": "5",
        "TRAIN_IDLE": "2",
        "PREDICT_DEADLINE": "60",
        "PREDICT_INLINE_TASKS": "1000",
    }
    with BackendProcess(tmp_path_factory.mktemp("learning_backend"), env=env) as process:
        yield process


@pytest.fixture(scope="module")
def connection(learning_backend: BackendProcess) -> Iterator[redis.Redis]:
    """The Redis of that backend."""
    data_dir = Path(learning_backend.env["DATA_DIR"])
    with connect(find_redis(load_settings(data_dir=data_dir, redis_url=""))) as client:
        yield client


@pytest.fixture(scope="module", params=["drawn", "photos"])
def played(
    request: pytest.FixtureRequest,
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    learning_backend: BackendProcess,
    connection: redis.Redis,
    until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Played]:
    if request.param == "drawn":
        pictures = drawn_pictures(tmp_path_factory.mktemp("figures"))
        folder = DOCS_IMAGES if request.config.getoption("--docs-images", False) else SCREENSHOTS
    elif not (DATA / "raccoon").is_dir() or not (DATA / "weights").is_dir():
        pytest.skip("There are no labelled photos beside this repository.")
    else:
        labelled = read_voc(DATA / "raccoon").pictures[:PICTURES]
        pictures = {one.path: one.truth for one in labelled}
        folder = None
    label_config = _label_config({name for truth in pictures.values() for name in truth.label})
    spec = parse_label_config(label_config)
    with RecordingProxy(learning_backend.url) as proxy:
        project_id = user.create_project(f"It learns: {request.param}", label_config)
        user.upload(project_id, list(pictures))
        truth = _truth_of(user.tasks(project_id), pictures)
        backend_id = int(user.connect_backend(project_id, proxy.url)["id"])
        user.retrieve_predictions(project_id)
        before = {int(one["task"]): one for one in user.predictions(project_id)}
        version_before = str(user.backend(backend_id)["model_version"])
        shown = _worth_showing(list(truth)[CORRECTED:], before, truth, spec)
        if folder is not None:
            _shoot(labelstudio, project_id, shown, folder / "learning_before.png", select=True)

        annotation_of = {}
        for task_id in list(truth)[:CORRECTED]:
            result, parent = corrected(before[task_id], truth[task_id], spec)
            annotation_of[task_id] = user.annotate(
                task_id, result, parent_prediction=parent, lead_time_s=8.0
            )
        until(
            lambda: _has_learned(connection, user, project_id, backend_id, version_before),
            timeout_s=90,
            pause_s=0.25,
        )
        version_after = str(user.backend(backend_id)["model_version"])
        after = {
            int(one["task"]): one
            for one in user.predictions(project_id)
            if one["model_version"] == version_after
        }
        if folder is not None:
            _shoot(labelstudio, project_id, shown, folder / "learning_after.png")
        replies = [json.loads(call.reply) for call in proxy.calls if call.path == "/webhook"]
        yield Played(
            project_id,
            backend_id,
            spec,
            truth,
            annotation_of,
            version_before,
            version_after,
            before,
            after,
            replies,
        )


def test_corrections_start_a_training(played: Played, learning_backend: BackendProcess) -> None:
    job_ids = list(dict.fromkeys(reply["job"] for reply in played.replies if reply["job"]))
    assert job_ids
    views = [httpx.get(f"{learning_backend.url}/jobs/{job_id}").json() for job_id in job_ids]
    assert {view["state"] for view in views} == {"done"}
    assert views[0]["outcome"]["published"]
    assert views[0]["outcome"]["pictures"] >= 5
    assert views[0]["progress"]["done"] == views[0]["progress"]["total"] > 0


def test_the_version_changes(played: Played) -> None:
    assert played.version_before.startswith(("mobilenet_v2-0-", "embedded-0-"))
    head = int(played.version_after.split("-")[1])
    assert head >= 1


def test_the_rest_is_predicted_anew_and_what_is_labelled_left_alone(played: Played) -> None:
    assert {one["model_version"] for one in played.before.values()} == {played.version_before}
    assert sorted(played.before) == sorted(played.truth)
    assert len(played.untouched) == PICTURES - CORRECTED
    assert sorted(played.after) == played.untouched


def test_the_proposals_are_better(played: Played) -> None:
    was, became = played.accuracy(played.before), played.accuracy(played.after)
    assert became.f1_50 > was.f1_50
    assert became.f1_70 > was.f1_70


def test_the_score_column_sorts(user: LabelStudioUser, played: Played) -> None:
    assert user.project(played.project_id)["model_version"] == played.version_after
    score_of = {task_id: float(one["score"]) for task_id, one in played.after.items()}
    for column, reverse in (("tasks:predictions_score", False), ("-tasks:predictions_score", True)):
        listed = [
            task for task in user.sorted_tasks(played.project_id, column) if task["id"] in score_of
        ]
        scores = [task["predictions_score"] for task in listed]
        assert len(scores) == PICTURES - CORRECTED
        assert scores == sorted(scores, reverse=reverse)
        assert scores == pytest.approx([score_of[task["id"]] for task in listed])
    assert len(set(score_of.values())) > 1


def test_the_ledger_knows_what_became_of_every_proposal(
    connection: redis.Redis, played: Played
) -> None:
    entries = Ledger(LedgerStore(connection)).entries(str(played.project_id))
    assert {entry.task_id: entry.annotation_id for entry in entries} == played.annotation_of
    for entry in entries:
        proposal = played.before[entry.task_id]
        assert entry.parent == (proposal["id"] if proposal["result"] else None)
        assert len(entry.result) == len(played.truth[entry.task_id])
        if entry.parent is not None:
            assert entry.shown is not None
            assert entry.shown.prediction_id == entry.parent
            assert len(entry.shown.result) == len(proposal["result"])


def test_a_deleted_annotation_is_forgotten(
    user: LabelStudioUser,
    learning_backend: BackendProcess,
    connection: redis.Redis,
    played: Played,
    until: Callable[..., None],
) -> None:
    ledger = Ledger(LedgerStore(connection))
    task_id, annotation_id = next(iter(played.annotation_of.items()))
    user.delete_annotation(annotation_id)
    kept = sorted(set(played.annotation_of.values()) - {annotation_id})
    until(
        lambda: [e.annotation_id for e in ledger.entries(str(played.project_id))] == kept,
        timeout_s=10,
    )
    # A training that is asked for reads Label Studio's own list first: it agrees.
    trained = run_command(
        "train", "--project", str(played.project_id), "--json", env=learning_backend.env
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["pictures"] == CORRECTED - 1
    assert task_id not in {e.task_id for e in ledger.entries(str(played.project_id))}


def test_another_configuration_is_predicted_anew_and_shown(
    user: LabelStudioUser, played: Played, until: Callable[..., None]
) -> None:
    # The last test of a project: its labels are others from here on.
    before = user.project(played.project_id)
    changed = before["label_config"].replace('<Label value="', '<Label value="new ')
    user.change_config(played.project_id, changed)
    until(
        lambda: (
            user.project(played.project_id)["model_version"] not in (before["model_version"], "")
        ),
        timeout_s=60,
        pause_s=0.25,
    )
    shown = user.project(played.project_id)["model_version"]
    assert shown == user.backend(played.backend_id)["model_version"]
    found = [one for one in user.predictions(played.project_id) if one["model_version"] == shown]
    assert {int(one["task"]) for one in found} >= set(played.untouched)
    named = {
        name
        for one in found
        for region in one["result"]
        for name in region["value"].get("rectanglelabels", ())
    }
    assert all(name.startswith("new ") for name in named)


def drawn_pictures(folder: Path) -> dict[Path, Boxes]:
    """Thirty files with a cat and a fish each, and their true boxes."""
    truth = {}
    for number in range(PICTURES):
        drawn = draw_picture(number, share=(0.35, 0.55), names=("cat", "fish"))
        path = folder / f"drawn-{number:02d}.png"
        path.write_bytes(cv2.imencode(".png", drawn.rgb_u8[..., ::-1])[1].tobytes())
        truth[path] = drawn.boxes
    return truth


def _label_config(labels: set[str]) -> str:
    colours = zip(sorted(labels), ("#e8590c", "#1c4fd8"), strict=False)
    inside = "".join(f'<Label value="{name}" background="{hue}"/>' for name, hue in colours)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="box" toName="image" strokeWidth="4">{inside}</RectangleLabels>'
        "</View>"
    )


def _truth_of(tasks: list[dict[str, Any]], pictures: Mapping[Path, Boxes]) -> dict[int, Boxes]:
    """True boxes by task: Label Studio puts eight characters and a dash before a file's name."""
    by_name = {path.name: boxes for path, boxes in pictures.items()}
    return {
        int(task["id"]): by_name[task["data"]["image"].rpartition("/")[2].partition("-")[2]]
        for task in tasks
    }


def _has_learned(
    connection: redis.Redis,
    user: LabelStudioUser,
    project_id: int,
    backend_id: int,
    version_before: str,
) -> bool:
    """Whether all is learned and the new version is shown, after its last prediction."""
    if LedgerStore(connection).changes(str(project_id)).count:
        return False
    if connection.exists(keys.training(str(project_id)), keys.refresh(str(project_id))):
        return False
    version = user.backend(backend_id)["model_version"]
    return bool(version != version_before and user.project(project_id)["model_version"] == version)


def _worth_showing(
    task_ids: Sequence[int],
    before: Predictions,
    truth: Mapping[int, Boxes],
    spec: LabelSpec,
) -> int:
    """The task whose first box before is the smallest: a box as large as the picture hides."""

    def share(task_id: int) -> float:
        size_hw = truth[task_id].size_hw
        found = boxes_in(before[task_id], spec, size_hw).xyxy_px
        sides = found[:1, 2:] - found[:1, :2]
        return float(sides.prod() / np.prod(size_hw)) if len(found) else 1.0

    return min(task_ids, key=share)


def _shoot(
    labelstudio: LabelStudioServer,
    project_id: int,
    task_id: int,
    path: Path,
    *,
    select: bool = False,
) -> None:
    with open_browser() as browser:
        page = open_task(browser, labelstudio, project_id, task_id)
        if select:
            select_first_box(page)
        save_screenshot(page, path)

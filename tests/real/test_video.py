"""A film in a real Label Studio: its track predicted, seen, accepted, learned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from backend.cli.demo import template_text
from backend.domain import FloatArray, iou_matrix
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.tracks import ReadTrack, read_tracks
from tests.real.conftest import DATA
from tests.real.screens import SCREENSHOTS, open_task, save_screenshot
from tests.video.drawn import FPS, HW, path_of, picture

FRAMES = 60
CONFIG = """
<View>
  <Labels name="label" toName="video"><Label value="Thing" background="#ff0000"/></Labels>
  <Video name="video" value="$video" framerate="25"/>
  <VideoRectangle name="box" toName="video" strokeWidth="4"/>
</View>
"""
SPEC = parse_label_config(CONFIG)


@dataclass(frozen=True)
class Film:
    project_id: int
    backend_id: int
    task_ids: tuple[int, ...]


@pytest.fixture(scope="module")
def learning_backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """A backend that trains on the first annotation."""
    env = {
        **backend_env,
        "WORKERS": "1",
        "TRAIN_WORKERS": "1",
        "TRAIN_EVERY": "1",
        "PREDICT_DEADLINE": "60",
    }
    with BackendProcess(tmp_path_factory.mktemp("video_backend"), env=env) as process:
        yield process


@pytest.fixture(scope="module")
def film(
    user: LabelStudioUser,
    learning_backend: BackendProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Film:
    """Two drawn films, the second upside down in time, retrieved."""
    folder = tmp_path_factory.mktemp("films")
    boxes = [path_of(at) for at in range(FRAMES)]
    paths = [_webm(folder / "there.webm", boxes), _webm(folder / "back.webm", boxes[::-1])]
    project_id = user.create_project("A film", CONFIG)
    user.upload(project_id, paths)
    backend_id = int(user.connect_backend(project_id, learning_backend.url)["id"])
    user.retrieve_predictions(project_id)
    return Film(project_id, backend_id, tuple(int(one["id"]) for one in user.tasks(project_id)))


def test_the_track_is_predicted(user: LabelStudioUser, film: Film) -> None:
    for task_id in film.task_ids:
        prediction = _prediction(user, film, task_id)
        told = {key: prediction[key] for key in ("result", "score", "model_version")}
        assert check_prediction(told, SPEC, {"video": "any"}) == []
        (track,) = read_tracks(prediction["result"], SPEC)
        assert track.label == "Thing"
        assert _overlap(track, backwards=task_id != film.task_ids[0]) > 0.5


def test_the_track_is_seen(
    browser: Browser, labelstudio: LabelStudioServer, user: LabelStudioUser, film: Film
) -> None:
    task_id = film.task_ids[0]
    page = open_task(browser, labelstudio, film.project_id, task_id)
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    _go_to(page, 30)
    save_screenshot(page, SCREENSHOTS / "video.png")
    assert page.locator(".lsf-outliner-item").count() == 1
    shown = page.evaluate("window.Htx.annotationStore.selected.regions[0].getShape(30)")
    (track,) = read_tracks(_prediction(user, film, task_id)["result"], SPEC)
    drawn = track.drawn_at(30)
    assert drawn is not None
    assert [shown["x"] / 100, shown["y"] / 100] == pytest.approx(drawn[:2], abs=0.001)


def test_an_accepted_track_is_learned_and_the_other_film_predicted_anew(
    user: LabelStudioUser, film: Film, until: Callable[..., None]
) -> None:
    first, second = film.task_ids
    before = _prediction(user, film, first)
    corrected = [_corrected(before["result"][0])]
    user.annotate(first, corrected, parent_prediction=int(before["id"]), lead_time_s=5.0)
    version = str(before["model_version"])

    def newer() -> list[Mapping[str, Any]]:
        found = [one for one in user.predictions(film.project_id) if int(one["task"]) == second]
        return [one for one in found if one["model_version"] != version]

    until(newer, timeout_s=120, pause_s=0.5)
    prediction = newer()[0]
    assert int(str(prediction["model_version"]).split("-")[1]) >= 1
    tracks = read_tracks(prediction["result"], SPEC)
    assert max(_overlap(one, backwards=True) for one in tracks) > 0.5


def test_a_film_of_the_wild_is_predicted_and_seen(
    browser: Browser,
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    learning_backend: BackendProcess,
) -> None:
    path = DATA / "video" / "opossum" / "opossum.mp4"
    if not path.exists():
        pytest.skip("There is no film beside this repository.")
    # The network knows no persons: what moves is proposed.
    config = re.sub(r"(<Label .*/>\s*)+", '<Label value="Person"/>', template_text("video"))
    project_id = user.create_project("A film of the wild", config)
    user.upload(project_id, [path])
    user.connect_backend(project_id, learning_backend.url)
    user.retrieve_predictions(project_id)
    (task,) = user.tasks(project_id)
    (prediction,) = user.predictions(project_id)
    told = {key: prediction[key] for key in ("result", "score", "model_version")}
    assert check_prediction(told, parse_label_config(config), {"video": "any"}) == []
    assert prediction["result"]
    first = read_tracks(prediction["result"], parse_label_config(config))[0]
    page = open_task(browser, labelstudio, project_id, int(task["id"]))
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")
    _go_to(page, (first.frames[0] + first.frames[-1]) // 2)
    save_screenshot(page, SCREENSHOTS / "video_opossum.png")
    assert page.locator(".lsf-outliner-item").count() == len(prediction["result"])


def _prediction(user: LabelStudioUser, film: Film, task_id: int) -> Mapping[str, Any]:
    """The first one of a task."""
    found = [one for one in user.predictions(film.project_id) if int(one["task"]) == task_id]
    return min(found, key=lambda one: int(one["id"]))


def _corrected(region: Mapping[str, Any]) -> dict[str, Any]:
    """The region as a person sends it who has set the true box on every eighth frame."""
    height, width = HW
    sequence = []
    for frame in range(1, FRAMES + 1, 8):
        x0, y0, x1, y1 = (float(edge) for edge in path_of(frame - 1))
        place = {"x": x0 / width, "y": y0 / height}
        sides = {"width": (x1 - x0) / width, "height": (y1 - y0) / height}
        percent = {name: 100 * share for name, share in (place | sides).items()}
        told = {"frame": frame, "time": frame / FPS, "enabled": True, "rotation": 0}
        sequence.append(told | percent)
    value = {**region["value"], "sequence": sequence}
    return {**region, "value": value, "origin": "prediction-changed"}


def _go_to(page: Page, frame: int) -> None:
    page.evaluate(f"window.Htx.annotationStore.selected.names.get('video').setFrame({frame})")
    page.wait_for_timeout(1000)  # the frame is decoded and drawn


def _overlap(track: ReadTrack, *, backwards: bool) -> float:
    scale = np.array(HW[::-1] * 2, np.float32)
    overlaps = []
    for frame in range(5, FRAMES - 5):
        drawn = track.drawn_at(frame + 1)
        box = np.zeros(4, np.float32) if drawn is None else np.array(drawn, np.float32) * scale
        true = path_of(FRAMES - 1 - frame if backwards else frame)
        overlaps.append(float(iou_matrix(box[None], true[None])[0, 0]))
    return float(np.mean(overlaps))


def _webm(path: Path, boxes: list[FloatArray]) -> Path:
    """VP8: what a browser plays of what OpenCV writes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), FPS, HW[::-1])
    assert writer.isOpened()
    for xyxy_px in boxes:
        writer.write(np.ascontiguousarray(picture(xyxy_px)[..., ::-1]))
    writer.release()
    return path

"""The page at / in a browser: seen, read aloud, worked by keyboard; after real work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

from backend.domain import Boxes, iou_matrix
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.drawn import draw_picture
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from tests.real.annotating import TRAINS_WHEN_ASKED, boxes_in, corrected
from tests.real.picture_server import PictureServer
from tests.real.screens import DOCS_IMAGES, SCREENSHOTS, open_browser, save_screenshot

LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="cat"/><Label value="fish"/></RectangleLabels></View>'
)
SPEC = parse_label_config(LABEL_CONFIG)
ROUNDS = (4, 5, 6)
"""Pictures that are labelled before each training."""

LEFT_OPEN = 5
GOOD_ENOUGH_IOU = 0.8
WIDE: ViewportSize = {"width": 1180, "height": 1620}
NARROW: ViewportSize = {"width": 390, "height": 800}


@dataclass(frozen=True)
class Worked:
    """A backend that has predicted, learned and failed. heads: numbers published."""

    backend: BackendProcess
    project_id: int
    heads: tuple[int, ...]


@pytest.fixture(scope="module")
def own_backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """A backend that trains when it is asked to."""
    env = {**backend_env, **TRAINS_WHEN_ASKED}
    with BackendProcess(tmp_path_factory.mktemp("page_backend"), env=env) as process:
        yield process


@pytest.fixture(scope="module")
def worked(
    own_backend: BackendProcess,
    user: LabelStudioUser,
    pictures: PictureServer,
    tmp_path_factory: pytest.TempPathFactory,
    until: Callable[..., None],
) -> Worked:
    project_id = user.create_project("The page", LABEL_CONFIG)
    truth_of = _drawn(tmp_path_factory.mktemp("page"))
    user.upload(project_id, list(truth_of))
    user.connect_backend(project_id, own_backend.url)
    user.retrieve_predictions(project_id)
    by_name = {path.name: truth for path, truth in truth_of.items()}
    truth_by_task = {
        int(task["id"]): by_name[task["data"]["image"].rpartition("/")[2].partition("-")[2]]
        for task in user.tasks(project_id)
    }
    open_tasks = list(truth_by_task)
    heads = []
    for count in ROUNDS:
        newest = {int(one["task"]): one for one in user.predictions(project_id)}
        for task_id in open_tasks[:count]:
            result, parent = _reviewed(newest[task_id], truth_by_task[task_id], SPEC)
            user.annotate(task_id, result, parent_prediction=parent, lead_time_s=5.0)
        open_tasks = open_tasks[count:]
        outcome = _train(own_backend, project_id, until)
        if outcome["published"]:
            heads.append(int(outcome["head"]))
            predicted = partial(_all_predicted, user, project_id, outcome["version"], open_tasks)
            until(predicted, timeout_s=60, pause_s=0.25)
    user.import_tasks(project_id, [{"image": f"http://{pictures.host}/missing.jpg"}])
    user.retrieve_predictions(project_id)
    return Worked(own_backend, project_id, tuple(heads))


@pytest.fixture(scope="module", params=["light", "dark"])
def page(request: pytest.FixtureRequest, worked: Worked) -> Iterator[Page]:
    with open_browser() as browser:
        context = browser.new_context(viewport=WIDE, color_scheme=request.param)
        yield context.new_page()


def test_it_shows_what_has_happened(page: Page, worked: Worked) -> None:
    page.goto(worked.backend.url)
    text = page.locator("main").inner_text()
    assert worked.heads, "drawn pictures teach something"
    assert f"Project {worked.project_id}" in text
    assert page.get_by_role("status").inner_text() == "UP"
    project = page.get_by_role("article").filter(has_text="Learning curve")
    rows = project.get_by_role("table", name="Heads, newest first").get_by_role("row")
    assert rows.count() == 1 + len(worked.heads)
    curve = project.get_by_role("img", name="Learning curve").inner_html()
    assert curve.count("<circle") >= len(worked.heads)
    reviewed = page.get_by_role("table", name="What people did with its predictions")
    assert reviewed.get_by_role("row").count() >= 2
    assert "openvino" in text or "torch" in text
    assert page.get_by_role("table", name="What could not be done").get_by_role("row").count() >= 2


def test_a_checker_of_accessibility_finds_nothing(page: Page, worked: Worked) -> None:
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        page.goto(f"{worked.backend.url}/?maps=1")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size(WIDE)


def test_nothing_is_blocked_or_loaded_from_elsewhere(page: Page, worked: Worked) -> None:
    complaints, asked = [], []
    page.on("console", lambda line: complaints.append(line.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{worked.backend.url}/")
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") == "24px"
    assert all(url.startswith(worked.backend.url) for url in asked)
    assert not [line for line in complaints if "Content Security Policy" in line]


def test_maps_are_drawn_when_asked_for(page: Page, worked: Worked) -> None:
    page.goto(worked.backend.url)
    assert page.locator("img").count() == 0
    page.get_by_role("link", name="Draw the maps").click()
    maps = page.locator(".maps img")
    assert maps.count() > 0
    for at in range(maps.count()):
        maps.nth(at).scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.images].every(one => one.complete && one.naturalWidth > 0)", timeout=60_000
    )


def test_screenshots(page: Page, worked: Worked, request: pytest.FixtureRequest) -> None:
    page.goto(worked.backend.url)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, re.findall(r"\d+", background)))
    assert (shade < 3 * 64) is dark
    name = "page_dark.png" if dark else "page.png"
    wanted = request.config.getoption("--docs-images", False) and not dark
    save_screenshot(page, (DOCS_IMAGES if wanted else SCREENSHOTS) / name, colours=256)


def test_a_failed_job_is_tried_again_by_keyboard(page: Page, worked: Worked) -> None:
    # The last test: what failed waits in a queue afterwards, or has failed anew.
    page.goto(worked.backend.url)
    page.keyboard.press("Tab")
    assert _focused(page) == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if _focused(page).startswith("Try"):
            break
    assert _focused(page).startswith("Try job"), "the button is reached"
    page.keyboard.press("Enter")
    page.wait_for_url("**/?told=*")
    assert "queued again" in page.locator("main").get_by_role("status").inner_text()


def _focused(page: Page) -> str:
    named = "document.activeElement.ariaLabel || document.activeElement.textContent"
    return str(page.evaluate(named)).strip()


def _drawn(folder: Path) -> dict[Path, Boxes]:
    truth = {}
    for number in range(sum(ROUNDS) + LEFT_OPEN):
        drawn = draw_picture(number, share=(0.35, 0.55), names=("cat", "fish"))
        path = folder / f"drawn-{number:02d}.png"
        path.write_bytes(cv2.imencode(".png", drawn.rgb_u8[..., ::-1])[1].tobytes())
        truth[path] = drawn.boxes
    return truth


def _reviewed(
    prediction: dict[str, Any], truth: Boxes, spec: LabelSpec
) -> tuple[list[dict[str, Any]], int | None]:
    """What a person submits: the proposal as it is where all of it is good, else the truth."""
    found = boxes_in(prediction, spec, truth.size_hw)
    if len(found) == len(truth):
        overlaps = iou_matrix(truth.xyxy_px, found.xyxy_px)
        best = overlaps.argmax(1)
        right = [found.label[at] == name for at, name in zip(best, truth.label, strict=True)]
        if len(set(best)) == len(truth) and all(right) and overlaps.max(1).min() > GOOD_ENOUGH_IOU:
            return list(prediction["result"]), int(prediction["id"])
    return corrected(prediction, truth, spec)


def _train(backend: BackendProcess, project_id: int, until: Callable[..., None]) -> dict[str, Any]:
    """Have the project trained; the training's outcome."""
    event = {"action": "START_TRAINING", "project": {"id": project_id}}
    job_id = httpx.post(f"{backend.url}/webhook", json=event).json()["job"]

    def view() -> dict[str, Any]:
        return dict(httpx.get(f"{backend.url}/jobs/{job_id}").json())

    until(lambda: view()["state"] in ("done", "failed"), timeout_s=90, pause_s=0.25)
    outcome = view()["outcome"]
    assert outcome is not None, view()["reason"]
    return dict(outcome)


def _all_predicted(user: LabelStudioUser, project_id: int, version: str, tasks: list[int]) -> bool:
    done = {int(p["task"]) for p in user.predictions(project_id) if p["model_version"] == version}
    return done >= set(tasks)

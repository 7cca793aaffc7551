"""From photos in a project to boxes in the editor, all parts real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from pydantic import SecretStr

from backend.cli.demo import template_text
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.tokens import TokenSource
from backend.media.fetch import MediaFetcher
from backend.settings import load_settings
from tests.real.screens import SCREENSHOTS, open_task

TEMPLATE = "boxes_and_choices"

REGIONS_SCRIPT = """
() => window.Htx.annotationStore.selected.regions
    .filter(region => region.type === "rectangleregion")
    .map(region => [region.x, region.y, region.width, region.height])
"""
"""Geometry in percent of the boxes that the editor drew."""


@dataclass(frozen=True)
class Connected:
    """A project with photos whose predictions were retrieved once."""

    project_id: int
    backend_id: int
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def project(user: LabelStudioUser, backend: BackendProcess, photos: list[Path]) -> Connected:
    project_id = user.create_project("Round trip", template_text(TEMPLATE))
    user.upload(project_id, photos)
    connected = user.connect_backend(project_id, backend.url)
    answer = user.retrieve_predictions(project_id)
    return Connected(project_id, int(connected["id"]), answer)


def test_label_studio_says_connected(user: LabelStudioUser, project: Connected) -> None:
    seen = user.backend(project.backend_id)
    assert (seen["state"], seen["readable_state"]) == ("CO", "Connected")
    assert seen["model_version"].startswith(("mobilenet_v2-0-", "embedded-0-"))


def test_the_webhook_is_registered(
    user: LabelStudioUser, project: Connected, backend: BackendProcess
) -> None:
    (webhook,) = user.webhooks(project.project_id)
    assert webhook["url"] == f"{backend.url}/webhook"
    assert webhook["send_for_all_actions"]
    assert webhook["is_active"]


def test_every_photo_has_one_prediction_of_the_version_that_setup_gave(
    user: LabelStudioUser, project: Connected, photos: list[Path]
) -> None:
    tasks, predictions = user.tasks(project.project_id), user.predictions(project.project_id)
    assert len(tasks) == len(photos) >= 20
    assert sorted(p["task"] for p in predictions) == [task["id"] for task in tasks]
    version = user.backend(project.backend_id)["model_version"]
    assert {p["model_version"] for p in predictions} == {version}
    assert str(len(photos)) in project.answer["detail"]


def test_what_label_studio_stored_keeps_our_rules(
    user: LabelStudioUser, project: Connected
) -> None:
    spec = parse_label_config(template_text(TEMPLATE))
    data = {task["id"]: task["data"] for task in user.tasks(project.project_id)}
    predictions = user.predictions(project.project_id)
    for prediction in predictions:
        sent = {key: prediction[key] for key in ("result", "score", "model_version")}
        assert check_prediction(sent, spec, data[prediction["task"]]) == []
    found = [boxes_of(prediction) for prediction in predictions]
    assert sum(bool(boxes) for boxes in found) >= len(predictions) // 2
    for region in (region for boxes in found for region in boxes):
        value = region["value"]
        assert value["x"] >= 0
        assert value["y"] >= 0
        assert value["width"] > 0
        assert value["height"] > 0
        assert value["x"] + value["width"] <= 100 + 1e-6
        assert value["y"] + value["height"] <= 100 + 1e-6


def test_retrieving_again_adds_nothing(user: LabelStudioUser, project: Connected) -> None:
    before = {p["id"] for p in user.predictions(project.project_id)}
    user.retrieve_predictions(project.project_id)
    assert {p["id"] for p in user.predictions(project.project_id)} == before


def test_the_test_request_shows_a_prediction_and_stores_none(
    user: LabelStudioUser, project: Connected
) -> None:
    before = len(user.predictions(project.project_id))
    shown = user.send_test_request(project.backend_id)
    assert shown["status"] == 200
    (result,) = shown["response"]
    assert result["model_version"] == user.backend(project.backend_id)["model_version"]
    assert len(user.predictions(project.project_id)) == before


def test_a_webhook_is_accepted(backend: BackendProcess, project: Connected) -> None:
    body = {"action": "PROJECT_UPDATED", "project": {"id": project.project_id}}
    reply = httpx.post(f"{backend.url}/webhook", json=body)
    assert reply.is_success
    assert reply.elapsed.total_seconds() < 0.3


def test_the_editor_shows_the_boxes(
    labelstudio: LabelStudioServer, user: LabelStudioUser, project: Connected, browser: Browser
) -> None:
    stored = max(user.predictions(project.project_id), key=lambda p: len(boxes_of(p)))
    page = open_task(browser, labelstudio, project.project_id, stored["task"])
    page.wait_for_selector(".lsf-outliner-item")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "editor.png")
    boxes = boxes_of(stored)
    assert page.locator(".lsf-outliner-item").count() == len(boxes) > 0
    labels = page.locator(".lsf-outliner-item__title").all_inner_texts()
    assert labels == [(region["value"]["rectanglelabels"] or ["No Label"])[0] for region in boxes]
    sent = [[region["value"][side] for side in ("x", "y", "width", "height")] for region in boxes]
    drawn = page.evaluate(REGIONS_SCRIPT)
    for drawn_box, sent_box in zip(drawn, sent, strict=True):
        assert drawn_box == pytest.approx(sent_box, abs=0.05)


def test_uploads_can_be_fetched_with_a_personal_access_token(
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    project: Connected,
    photos: list[Path],
) -> None:
    token = SecretStr(user.personal_access_token())
    settings = load_settings(label_studio_url=labelstudio.url, label_studio_api_key=token)
    tokens = TokenSource(labelstudio.url, token, settings.label_studio_timeout_s)
    task = user.tasks(project.project_id)[0]
    address = next(iter(task["data"].values()))
    assert address.startswith("/data/upload/")
    assert httpx.get(labelstudio.url + address).status_code == 401
    fetcher = MediaFetcher(settings, tokens)
    try:
        assert fetcher.read(address, task["id"]) == photos[0].read_bytes()
    finally:
        fetcher.close()


def boxes_of(prediction: dict[str, Any]) -> list[dict[str, Any]]:
    """The rectangles among the regions of a prediction."""
    return [region for region in prediction["result"] if region["type"] == "rectanglelabels"]

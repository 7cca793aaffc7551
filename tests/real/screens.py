"""Label Studio's editor in a headless Chromium."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from backend.evaluation.labelstudio_server import REPOSITORY, LabelStudioServer

SCREENSHOTS = REPOSITORY / ".cache" / "screenshots"
DOCS_IMAGES = REPOSITORY / "docs" / "images"

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_COLOURS = 128
"""Enough for an editor with one picture, at half the size of a full-colour file."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A Chromium of its own, closed at the end."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.fail("There is no Chromium. `make setup-real` installs it as root; else install it.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield running
        running.close()


def open_task(
    browser: Browser, labelstudio: LabelStudioServer, project_id: int, task_id: int
) -> Page:
    """A page of 1400 x 900 with a task in the editor, its picture shown."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    _sign_in(page, labelstudio)
    page.goto(f"{labelstudio.url}/projects/{project_id}/data?task={task_id}")
    page.wait_for_selector("canvas")
    page.wait_for_timeout(1000)  # the picture fades in
    return page


def select_first_box(page: Page) -> None:
    """The editor draws a box without a label so thin that only its selection shows it."""
    boxes = page.locator(".lsf-outliner-item")
    if boxes.count():
        boxes.first.click()
    page.wait_for_timeout(300)


def save_screenshot(page: Page, path: Path, colours: int = _COLOURS) -> None:
    """A PNG with a palette, small enough for a repository."""
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    shown.quantize(colours, dither=Image.Dither.NONE, kmeans=1).save(path, optimize=True)


def _sign_in(page: Page, labelstudio: LabelStudioServer) -> None:
    """Through the form, as a person does."""
    page.goto(f"{labelstudio.url}/user/login/")
    page.fill("input[name=email]", labelstudio.account.email)
    page.fill("input[name=password]", labelstudio.account.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/user/login" not in url)

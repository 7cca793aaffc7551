"""Templates of shapes in a real Label Studio: predicted, imported, shown, accepted, learned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from backend.cli.demo import template_text
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.drawn import write_pictures
from backend.evaluation.labelstudio_server import LabelStudioServer
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction
from backend.labelstudio.regions import read_regions
from tests.real.screens import SCREENSHOTS, open_task, save_screenshot

PICTURES = 6


@pytest.fixture(scope="module")
def learning_backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """A backend that trains two seconds after the last annotation."""
    env = {
        **backend_env,
        "WORKERS": "1",
        "TRAIN_WORKERS": "1",
        "TRAIN_EVERY": str(PICTURES),
        "TRAIN_IDLE": "2",
        "PREDICT_DEADLINE": "60",
    }
    with BackendProcess(tmp_path_factory.mktemp("shapes"), env=env) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("template", ["polygons", "brush", "ellipses"])
def test_shapes_are_shown_accepted_and_learned(
    template: str,
    labelstudio: LabelStudioServer,
    user: LabelStudioUser,
    learning_backend: BackendProcess,
    browser: Browser,
    until: Callable[..., None],
    tmp_path: Path,
) -> None:
    config = template_text(template)
    spec = parse_label_config(config)
    (control,) = spec.active
    project_id = user.create_project(f"Shapes: {template}", config)
    user.upload(project_id, write_pictures(tmp_path, PICTURES))
    user.connect_backend(project_id, learning_backend.url)
    user.retrieve_predictions(project_id)
    predictions = {int(one["task"]): one for one in user.predictions(project_id)}
    assert len(predictions) == PICTURES
    for one in predictions.values():
        told = {key: one[key] for key in ("result", "score", "model_version")}
        assert check_prediction(told, spec, {"image": "any"}) == []
    shown = max(predictions, key=lambda task: len(predictions[task]["result"]))
    regions = predictions[shown]["result"]
    assert regions
    assert {region["type"] for region in regions} == {control.kind}
    assert len(read_regions(regions, spec)) == len(regions)

    page = open_task(browser, labelstudio, project_id, shown)
    page.wait_for_selector(".lsf-outliner-item")
    save_screenshot(page, SCREENSHOTS / f"{template}.png")
    assert page.locator(".lsf-outliner-item").count() == len(regions)

    for task, one in predictions.items():
        accepted = one["result"] or [_moved(regions[0])]
        user.annotate(task, accepted, parent_prediction=int(one["id"]), lead_time_s=4.0)
    until(lambda: _learned_from(learning_backend, project_id) == PICTURES, timeout_s=90)


def _moved(region: dict[str, Any]) -> dict[str, Any]:
    return {**region, "id": "byhand", "origin": "manual"}


def _learned_from(backend: BackendProcess, project_id: int) -> int:
    """Pictures of the last training of the project, as the log tells; 0 before any."""
    log = (Path(backend.env["DATA_DIR"]) / "backend.log").read_text()
    told = [line for line in log.splitlines() if "training_done" in line]
    own = [line for line in told if re.search(rf"project\W+{project_id}\b", line)]
    found = re.search(r"\bpictures\W+(\d+)", own[-1]) if own else None
    return int(found[1]) if found else 0

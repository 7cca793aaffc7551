"""What a smart tool asks, through a real Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.cli.demo import template_text
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction_check import check_prediction

CONFIG = template_text("point_and_refine")


@pytest.fixture(scope="module")
def connected(
    user: LabelStudioUser, backend: BackendProcess, photos: list[Path]
) -> tuple[int, int]:
    """A backend and a task of its project."""
    project_id = user.create_project("Smart tools", CONFIG)
    user.upload(project_id, photos[:1])
    entry = user.connect_backend(project_id, backend.url, interactive=True)
    (task,) = user.tasks(project_id)
    return int(entry["id"]), int(task["id"])


def marked(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {
        "original_width": 400,
        "original_height": 300,
        "image_rotation": 0,
        "value": {**value, kind: ["Vehicle"]},
        "id": "marked",
        "from_name": name,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
    }


POINT = marked("point", "keypointlabels", x=50, y=50, width=0.3) | {"is_positive": True}
ROUGH = marked("rough", "rectanglelabels", x=25, y=25, width=50, height=50, rotation=0)


@pytest.mark.parametrize("region", [POINT, ROUGH], ids=["point", "rectangle"])
def test_one_region_comes_back(
    user: LabelStudioUser, connected: tuple[int, int], region: dict[str, Any]
) -> None:
    backend_id, task_id = connected
    answer = user.ask_about(backend_id, task_id, [region])
    assert "errors" not in answer
    (found,) = answer["data"]["result"]
    assert (found["from_name"], found["value"]["rectanglelabels"]) == ("box", ["Vehicle"])
    value = found["value"]
    assert value["x"] <= 50 <= value["x"] + value["width"]
    assert value["y"] <= 50 <= value["y"] + value["height"]
    assert check_prediction(answer["data"], parse_label_config(CONFIG), {"image": "any"}) == []


def test_nothing_marked_is_an_empty_answer_not_an_error(
    user: LabelStudioUser, connected: tuple[int, int]
) -> None:
    answer = user.ask_about(*connected, [POINT | {"is_positive": False}])
    assert answer["data"]["result"] == []

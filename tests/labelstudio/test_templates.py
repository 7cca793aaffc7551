"""The configurations a team pastes into Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.labelstudio.labelspec import parse_label_config
from tests.labelstudio.conftest import REPOSITORY

FOLDER = REPOSITORY / "plugin_config" / "label_configs"
KINDS = {
    "boxes.xml": ["rectanglelabels"],
    "boxes_then_label.xml": ["rectangle+labels"],
    "choices.xml": ["choices"],
    "boxes_and_choices.xml": ["rectanglelabels", "choices"],
    "one_label.xml": ["rectanglelabels"],
    "tight_boxes.xml": ["rectanglelabels"],
    "several_pictures.xml": ["rectanglelabels", "choices"],
    "point_and_refine.xml": ["rectanglelabels"],
    "polygons.xml": ["polygonlabels"],
    "brush.xml": ["brushlabels"],
    "ellipses.xml": ["ellipselabels"],
    "video.xml": ["videorectangle+labels"],
    "pose.xml": ["keypointlabels"],
}


def test_every_template_is_known_and_documented() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.xml")) == sorted(KINDS)
    page = (REPOSITORY / "docs" / "label-config.md").read_text()
    assert [name for name in KINDS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", KINDS)
def test_template_is_served_in_full(name: str) -> None:
    xml = Path(FOLDER / name).read_text()
    assert xml.startswith("<!-- ")
    spec = parse_label_config(xml)
    assert [control.kind for control in spec.active] == KINDS[name]
    assert spec.unserved == ()


@pytest.mark.real
def test_label_studio_accepts_them(ask_sdk: Callable[[str, Any], Any]) -> None:
    code = (
        "from label_studio_sdk.label_interface import LabelInterface\n"
        "answer = [LabelInterface(config).validate() for config in data]"
    )
    assert ask_sdk(code, [(FOLDER / name).read_text() for name in KINDS]) == [None] * len(KINDS)

"""A task, from the call to its boxes, on the weights that come with the backend."""

from __future__ import annotations

import json

import pytest

from backend.store.fleet import Fleet
from backend.vision.backbones import Backbone, load_backbone
from tests.jobs.conftest import MakeRoad

NAMED = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="Balloon"/></RectangleLabels>
</View>
"""


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """In place of the small seeded network of the other roads."""
    return load_backbone("embedded", None, "cpu")


def test_a_drawn_photo_gets_a_box(make_road: MakeRoad) -> None:
    road = make_road(backbone="embedded")
    Fleet(road.connection).publish_identity(road.backbone.identity)
    (answer,) = road.predict(road.call(road.pictures.add(1), label_config=NAMED))
    assert answer is not None
    prediction = json.loads(answer)
    assert prediction["model_version"].startswith("embedded-0-")
    (region,) = prediction["result"]
    assert region["value"]["rectanglelabels"] == ["Balloon"]
    box = region["value"]
    assert 0 < box["width"] <= 100
    assert 0 < box["height"] <= 100

"""The same road with the learning itself, on a tiny network."""

from __future__ import annotations

import json
from collections.abc import Callable

import redis

from backend.jobs.enqueue import Dispatcher
from backend.jobs.process import current
from backend.jobs.warming import warm
from backend.learning.head import Head
from backend.learning.project_head import ProjectHead
from backend.settings import Settings
from backend.vision.backbones import Backbone
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.plain_learner import PlainLearning
from tests.jobs.test_train import Team, region


def test_from_the_first_annotation_to_the_prediction(
    settings: Callable[..., Settings],
    connection: redis.Redis,
    pictures: PictureServer,
    backbone: Backbone,
) -> None:
    own = settings(allowed_hosts=("127.0.0.1",), fetch_threads=2, media_retries=0)
    warm(own, "cpu", connection=connection, backbone=backbone)
    dispatcher = Dispatcher(own, connection)
    road = Road(own, connection, dispatcher, pictures, backbone, PlainLearning())
    team = Team(road)
    team.accept(pictures.add(6), lambda: [region()])
    outcome = team.train()
    assert outcome["pictures"] == outcome["judged_on"] == 6
    assert set(outcome["metrics"]) == {"f1_50", "f1_70", "mean_iou", "no_edit", "ece", "fit_s"}
    assert outcome["published"] is True, "the place is always the same one"
    head = current().heads.get("1", 1)
    assert isinstance(head, ProjectHead)
    assert Head.from_bytes(current().versions.content("1", 1)).labels == ("Thing",)
    (reply,) = road.predict(road.call(pictures.add(1, first=8), first_id=50))
    prediction = json.loads(reply or b"")
    assert prediction["model_version"] == team.version() == outcome["version"]
    files = list((own.data_dir / "features").glob("*/*.safetensors"))
    assert len(files) == 2 * 6 + 1, "upright and mirrored, and the one that was predicted"
    fetched = pictures.asked.total()
    assert team.train()["pictures"] == 6
    assert pictures.asked.total() == fetched, "training again needs no picture"

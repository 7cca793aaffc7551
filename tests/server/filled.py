"""A Redis that holds one of everything the page shows, written by the code that writes it."""

from __future__ import annotations

import time
from dataclasses import replace

import redis

from backend.domain import BackboneIdentity, Failed, Predicted
from backend.jobs.acceptance import note_acceptance
from backend.jobs.batch_sizes import BATCH_SIZES
from backend.jobs.parking import park_tasks
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import prediction_cache
from backend.jobs.training import request_training
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.ledger import Entry, Shown
from backend.learning.promote import Counts
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.settings import Settings
from backend.store.counters import Counters
from backend.store.deliveries import Deliveries
from backend.store.fleet import Fleet, WorkerInfo
from backend.store.heads import HeadStore
from backend.store.projects import ProjectStore
from backend.store.recent import RecentPredictions
from tests.server.conftest import LABEL_CONFIG

PROJECT = "7"
HOSTILE = '<script>alert("x")</script>'


def region(number: int, x_pct: float, label: str = "Raccoon") -> dict[str, object]:
    """A rectangle as Label Studio stores it."""
    value = {"x": x_pct, "y": 10.0, "width": 20.0, "height": 20.0, "rectanglelabels": [label]}
    return {
        "id": f"r{number}", "from_name": "label", "to_name": "image",
        "type": "rectanglelabels", "original_width": 640, "original_height": 480, "value": value,
    }  # fmt: skip


def fill(connection: redis.Redis, settings: Settings) -> None:
    """Workers, a project with heads, reviews and a training, predictions, a failed job."""
    fleet, projects = Fleet(connection), ProjectStore(connection)
    ready = WorkerInfo("w1", "here", 1, "cpu", "mobilenet_v2", "ready", jobs_done=41)
    fleet.beat(replace(ready, runtime="openvino float32"))
    fleet.beat(WorkerInfo("w2", "here", 2, "cpu", "", "failed", f"No memory {HOSTILE}."))
    fleet.beat(WorkerInfo("t1", "here", 3, "cpu", "mobilenet_v2", "ready", kind="train"))
    fleet.publish_identity(BackboneIdentity("mobilenet_v2", "ab12", 224, ("cat",), "file"))
    projects.remember_setup(
        PROJECT, label_config=LABEL_CONFIG, extra_params={}, hostname="http://studio.example"
    )
    projects.remember_setup(
        "8", label_config="<View/>", extra_params={}, hostname="javascript:alert(1)"
    )
    _heads(connection)
    _reviews(connection)
    request_training(connection, settings, PROJECT, time.time(), asked=True)
    Deliveries(connection).defer(PROJECT, "mobilenet_v2-3-00000000", {31: "key"})
    _work(connection, settings)


def _heads(connection: redis.Redis) -> None:
    versions = HeadVersions(HeadStore(connection, most=20))
    for at, (pictures, f1) in enumerate([(5, 0.41), (12, 0.63), (30, 0.78)]):
        meta = VersionMeta(
            created_at_s=time.time() - 3600 * (3 - at),
            backbone_name="mobilenet_v2",
            backbone_digest="ab12",
            labels=("Raccoon",),
            pictures=pictures,
            metrics={"f1_50": f1, "f1_70": f1 - 0.2, "fit_s": 1.0},
        )
        learned = Learned(b"\x00", meta, {"hash": ("digest", Counts(1, 2, 3))})
        versions.publish(PROJECT, learned, instead_of=at)


def _reviews(connection: redis.Redis) -> None:
    """Of four pictures one is as proposed, one changed, one rejected, one has a box more."""
    proposed = (region(1, 10.0),)
    outcomes = [proposed, (region(1, 30.0),), (), (*proposed, region(2, 60.0))]
    entries = [
        Entry(
            number, number, {"image": "x"}, result, whole=True, skipped=False, ground_truth=False,
            annotator=1, parent=number, lead_time_s=3.0, updated_us=number,
            shown=Shown(number, "mobilenet_v2-2-0a1b2c3d", proposed),
        )
        for number, result in enumerate(outcomes, 1)
    ]  # fmt: skip
    spec = parse_label_config(LABEL_CONFIG)
    note_acceptance(connection, PROJECT, entries, spec, time.time())


def _work(connection: redis.Redis, settings: Settings) -> None:
    Counters(connection).add_many(
        [
            ("pictures", {}, 120),
            ("batches", {}, 16),
            (BATCH_SIZES, {"le": "8"}, 14),
            (BATCH_SIZES, {"le": "4"}, 2),
            ("stage_ms", {"stage": "forward"}, 2500),
            ("tasks_predicted", {}, 118),
            ("tasks_failed", {"code": "media_missing"}, 2),
            ("answers", {"outcome": "answered"}, 148),
            ("cache_lookups", {"result": "hit"}, 30),
            ("cache_lookups", {"result": "miss"}, 120),
            ("trainings", {"outcome": "published"}, 3),
            ("jobs_failed", {"queue": "predict", "code": "unexpected"}, 1),
        ]
    )
    version = "mobilenet_v2-3-0a1b2c3d"
    predictions = {
        f"key{task}": Predicted(
            {
                "result": [region(1, 10.0, label)],
                "score": 0.5 + task / 100,
                "model_version": version,
            }
        )
        for task, label in ((11, "Raccoon"), (12, HOSTILE))
    }
    prediction_cache(settings, connection).put_many(predictions)
    with connection.pipeline() as pipe:
        RecentPredictions(connection).note(PROJECT, {11: "key11", 12: "key12"}, pipe)
        pipe.execute()
    task = CarrierTask("gone", 13, {"image": "http://pictures.example/13.png"})
    park_tasks(
        connection,
        settings,
        Carrier(PROJECT, version, "ab12", "f", (task,)),
        {"gone": Failed("media_missing", f"There is no picture {HOSTILE}.")},
    )

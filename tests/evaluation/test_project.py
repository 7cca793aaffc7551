"""A project's accepted pictures, fetched and laid out for a measurement."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from backend.evaluation.accuracy import compare
from backend.evaluation.curves import split_by_time
from backend.evaluation.project import read_project
from backend.evaluation.project_pictures import bed_of_project, fetched_pictures
from backend.labelstudio.events import parse_event
from backend.learning.ledger import Ledger
from backend.settings import Settings
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from backend.vision.backbones import Backbone
from tests.evaluation.sets import Kept, nearest_learner
from tests.jobs.conftest import RECTANGLES, PictureServer
from tests.jobs.conftest import backbone as backbone
from tests.jobs.conftest import pictures as pictures


def accept(connection: redis.Redis, task: int, address: str, second: int) -> None:
    """One box accepted on a picture of 96 x 96 pixels."""
    region = {
        "id": f"r{task}",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 96,
        "original_height": 96,
        "value": {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["Thing"]},
    }
    payload = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": 1},
        "task": {"id": task, "data": {"image": address}},
        "annotation": {
            "id": task,
            "task": task,
            "result": [region],
            "updated_at": f"2024-05-01T10:00:{second:02d}Z",
        },
    }
    Ledger(LedgerStore(connection)).apply(parse_event(payload))


def test_accepted_pictures_in_the_order_of_time(
    connection: redis.Redis,
    settings: Callable[..., Settings],
    pictures: PictureServer,
    backbone: Backbone,
) -> None:
    ProjectStore(connection).remember_setup(
        "1", label_config=RECTANGLES, extra_params={}, hostname=""
    )
    addresses = pictures.add(5)
    pictures.pictures["/twin.png"] = pictures.pictures["/0.png"]
    # Task 5 is the oldest; task 6 shows the picture of task 1 again, last of all.
    for task, address in enumerate(addresses, 1):
        accept(connection, task, address, 30 - task)
    accept(connection, 6, pictures.url + "/twin.png", 59)
    accept(connection, 7, pictures.url + "/gone.png", 58)
    project = read_project(connection, 1)
    assert [lesson.task_id for lesson in project.lessons] == [5, 4, 3, 2, 1, 7, 6]

    wanted = [(lesson.address, lesson.task_id) for lesson in project.lessons]
    made = settings(allowed_hosts=("127.0.0.1",), media_retries=0)
    told: list[None] = []
    with fetched_pictures(made, 1, wanted, lambda: told.append(None)) as fetched:
        assert len(told) == 7
        assert pictures.url + "/gone.png" not in fetched.hash_of
        bed = bed_of_project(project, fetched, backbone, nearest_learner(Kept()))
        expected = [fetched.hash_of[address] for address in reversed(addresses)]
        assert list(bed.ids) == expected
        boxes = bed.examples[bed.ids[0]].boxes
        assert boxes.xyxy_px[0].tolist() == pytest.approx([24, 24, 72, 72])
        assert [label.value for label in bed.labels] == ["Thing"]
        curves = compare(bed, [split_by_time(bed.ids)], (0, 2))
    # Every box is the same: the constant box and the learned one are right.
    assert curves["constant"][0].accuracy.f1_70 == 1.0
    assert curves["learned"][1].accuracy.f1_70 == 1.0
    assert not fetched.folder.exists()

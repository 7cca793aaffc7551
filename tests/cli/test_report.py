"""`report` over a real Redis: from webhooks to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from backend.cli.app import build_app
from backend.errors import ConfigError
from backend.labelstudio.events import parse_event
from backend.learning.ledger import Ledger
from backend.learning.promote import Counts
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from tests.learning.test_reviews import region

CONFIG = (
    '<View><Image name="img" value="$image"/><RectangleLabels name="rl" toName="img">'
    '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
)


def submit(
    ledger: Ledger, task: int, result: list[dict[str, Any]], shown: list[dict[str, Any]] | None
) -> None:
    """An annotation as Label Studio tells it, made from a prediction where one is given."""
    prediction = {"id": 90 + task, "model_version": "net-1-abc", "result": shown}
    payload = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": 3},
        "task": {"id": task, "data": {"image": f"http://pictures/{task}.jpg"}},
        "annotation": {
            "id": task,
            "task": task,
            "result": result,
            "completed_by": 1,
            "lead_time": 10.0 * task,
            "updated_at": f"2024-05-0{task}T10:00:00Z",
            "parent_prediction": None if shown is None else 90 + task,
            "prediction": {} if shown is None else prediction,
        },
    }
    ledger.apply(parse_event(payload))


@pytest.fixture
def project(connection: redis.Redis) -> Ledger:
    """Project 3: one picture without prediction, two with one."""
    ProjectStore(connection).remember_setup(
        "3", label_config=CONFIG, extra_params={}, hostname="http://ls"
    )
    ledger = Ledger(LedgerStore(connection))
    submit(ledger, 1, [region("x")], None)
    submit(ledger, 2, [region("a")], [region("a")])
    submit(ledger, 3, [region("a", x=20), region("y", "dog")], [region("a"), region("b")])
    return ledger


def run(redis_url: str, *arguments: str) -> str:
    told = CliRunner().invoke(
        build_app(arguments),
        list(arguments),
        env={"REDIS_URL": redis_url, "LABEL_STUDIO_URL": "http://studio:8080"},
        catch_exceptions=False,
    )
    assert told.exit_code == 0
    return told.stdout


def test_json_has_the_counts(redis_url: str, project: Ledger) -> None:
    told = json.loads(run(redis_url, "report", "--project", "3", "--json"))
    assert told["annotations"] == 3
    (version,) = told["versions"]
    assert version["version"] == "net-1-abc"
    assert version["pictures"] == 2
    assert version["edits_a_picture"] == 1.5
    total = version["total"]
    assert (total["kept"], total["changed"], total["rejected"], total["missed"]) == (1, 1, 1, 1)
    # Moved by 10 of 200 * 30 %: 40 of 80 percent points are shared, 20 / 40.
    assert total["changed_iou_median"] == pytest.approx(0.5)
    assert version["labels"]["dog"]["missed"] == 1
    assert told["lead_time"]["with_prediction"] == {"pictures": 2, "median_s": 25.0}
    assert told["lead_time"]["without_prediction"] == {"pictures": 1, "median_s": 10.0}


def test_text_and_page(redis_url: str, project: Ledger, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    told = run(redis_url, "report", "--project", "3", "--html", str(page))
    assert "net-1-abc: 2 pictures, 1 without an edit" in told
    assert "What proposals saved in project 3" in page.read_text()


def test_labels_that_the_head_doubts(
    redis_url: str, connection: redis.Redis, project: Ledger
) -> None:
    from backend.evaluation.project import read_project

    lessons = {lesson.task_id: lesson for lesson in read_project(connection, 3).lessons}
    project.store.remember_hashes("3", {f"http://pictures/{n}.jpg": f"h{n}" for n in (1, 2, 3)})
    pictures = {
        "h1": (lessons[1].digest, Counts(tp50=1)),
        "h2": (lessons[2].digest, Counts(fp50=1, fn50=1)),
        "h3": ("of other labels", Counts(fn50=2)),
        "elsewhere": ("", Counts(tp50=9)),
    }
    meta = VersionMeta(0.0, "net", "d", ("cat",), 2)
    versions = HeadVersions(HeadStore(connection, most=5))
    assert versions.publish("3", Learned(b"", meta, pictures), instead_of=0) == 1
    told = json.loads(run(redis_url, "report", "--project", "3", "--json"))
    # Task 3's labels are not those that the head was held against.
    assert told["judged"] == 2
    assert told["doubts"] == [{"task": 2, "hits": 0, "extra": 1, "missed": 1}]


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_an_unknown_project_is_told(redis_url: str, project: Ledger, command: str) -> None:
    with pytest.raises(ConfigError, match=r"Project 4 is not known here.*Known: 3"):
        run(redis_url, command, "--project", "4")


def test_an_empty_project_is_told(redis_url: str, connection: redis.Redis) -> None:
    ProjectStore(connection).remember_setup("5", label_config=CONFIG, extra_params={}, hostname="")
    assert "Project 5: 0 annotations." in run(redis_url, "report", "--project", "5")

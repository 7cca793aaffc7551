"""The Label Studio of a soak run, held against the stand-in that is held against the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from backend.errors import LabelStudioUnreachable
from backend.evaluation.worked_project import KEY, WorkedProject
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.events import AnnotationsDeleted, AnnotationsSaved, parse_event
from backend.learning.ledger import updated_us
from tests.labelstudio_standin import LabelStudioStandin, running

CONFIG = "<View/>"
IMAGES = [f"http://h/{number}.jpg" for number in range(5)]


@pytest.fixture
def project() -> Iterator[WorkedProject]:
    with WorkedProject(CONFIG) as made:
        made.add_tasks(IMAGES)
        yield made


@pytest.fixture
def standin() -> Iterator[LabelStudioStandin]:
    with running(api_key=KEY) as made:
        made.add_project(label_config=CONFIG)
        made.add_tasks([{"image": one} for one in IMAGES])
        yield made


def client_of(one: WorkedProject | LabelStudioStandin) -> LabelStudioClient:
    return LabelStudioClient(one.url, SecretStr(KEY), 5.0)


def prediction(task: int, version: str = "m-0-aaaaaaaa") -> dict[str, Any]:
    return {"task": task, "result": [], "score": 0.5, "model_version": version}


Asked = Callable[[LabelStudioClient], Any]


def ids(pages: Any) -> list[list[int]]:
    return [[task.id for task in page] for page in pages]


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: ids(c.tasks_lacking_version(1, "m-0-aaaaaaaa", page_size=2)),
        lambda c: ids(c.tasks_lacking_version(1, "m-0-aaaaaaaa", unpredicted_only=True)),
        lambda c: ids(c.tasks_lacking_version(1, "m-0-aaaaaaaa", unlabelled_only=True)),
        lambda c: c.count_lacking(1, "m-0-aaaaaaaa"),
        lambda c: c.predictions_of([1, 2, 3, 9], 1, "m-0-aaaaaaaa"),
        lambda c: c.existing_tasks([1, 5, 6], 1),
        lambda c: [(task.id, task.data) for task in c.tasks_among(1, [2, 4])],
        lambda c: c.task(3).data,
        lambda c: c.model_versions(1),
        lambda c: c.ml_backends(1),
        lambda c: c.project(1).label_config,
        lambda c: [
            (one.task.id, [(a.task_id, len(a.result), a.skipped) for a in one.annotations])
            for page in c.annotated_tasks(1)
            for one in page
        ],
        lambda c: c.annotation_state(1).split()[:2],
        lambda c: c.patch_project(1, {"model_version": "m-0-aaaaaaaa"}).model_version,
    ],
    ids=["lacking", "unpredicted", "unlabelled", "count", "having", "existing", "among", "task",
         "versions", "backends", "project", "annotated", "state", "patch"],
)  # fmt: skip
def test_it_answers_as_the_stand_in_does(
    project: WorkedProject, standin: LabelStudioStandin, ask: Asked
) -> None:
    told = []
    for one in (project, standin):
        with client_of(one) as client:
            imported = [prediction(2), prediction(3), prediction(4, "m-1-bbbbbbbb")]
            assert client.import_predictions(1, imported) == 3
            for task in (3, 5):
                one.annotate(task, [{"id": "r"}], **({"user": 1} if one is project else {}))  # type: ignore[arg-type]
            told.append(ask(client))
    assert told[0] == told[1]


def test_what_comes_twice_is_counted(project: WorkedProject) -> None:
    with client_of(project) as client:
        client.import_predictions(1, [prediction(1), prediction(2)])
        project.store(2, prediction(2, "m-1-bbbbbbbb"))
        assert project.twice == [], "another version is another prediction"
        project.store(2, prediction(2))
        client.import_predictions(1, [prediction(1)])
    assert [told.rpartition(":")[0] for told in project.twice] == [
        "task 2, m-0-aaaaaaaa", "task 1, m-0-aaaaaaaa",
    ]  # fmt: skip
    assert project.twice[1].endswith("s after import")
    assert project.unpredicted() == {3, 4, 5}


def test_webhooks_tell_what_people_did(project: WorkedProject) -> None:
    project.store(2, prediction(2))
    shown = project.prediction_of(2)
    assert shown is not None
    made = parse_event(project.annotate(2, [{"id": "a"}], user=3))
    assert isinstance(made, AnnotationsSaved)
    (record,) = made.annotations
    assert (record.task_id, record.completed_by) == (2, 3)
    assert record.shown is not None
    assert record.shown.id == record.parent_prediction == shown["id"]
    assert made.tasks[0].data == {"image": IMAGES[1]}
    assert record.id is not None
    changed = parse_event(project.correct(2, record.id, [{"id": "b"}]))
    assert isinstance(changed, AnnotationsSaved)
    assert updated_us(changed.annotations[0].updated_at) > updated_us(record.updated_at)
    assert project.annotations() == {record.id: changed.annotations[0].updated_at}
    gone = parse_event(project.delete(2, record.id))
    assert isinstance(gone, AnnotationsDeleted)
    assert gone.annotation_ids == (record.id,)
    assert project.annotations() == {}


def test_stopped_it_refuses_and_cuts_and_comes_back_where_it_was(project: WorkedProject) -> None:
    url = project.url
    with httpx.Client() as kept_open, client_of(project) as client:
        assert kept_open.get(f"{url}/api/projects/1/").status_code == 200
        assert client.count_lacking(1, "v") == 5
        project.go_down()
        assert project.is_down
        with pytest.raises(LabelStudioUnreachable) as caught:
            client.import_predictions(1, [prediction(1)])
        assert not caught.value.maybe_done
        with pytest.raises(httpx.TransportError):
            kept_open.get(f"{url}/api/projects/1/")
        project.come_up()
        assert project.url == url
        assert client.import_predictions(1, [prediction(1)]) == 1
    assert project.unpredicted() == {2, 3, 4, 5}


def test_an_answer_is_lost_after_storing(project: WorkedProject) -> None:
    project.forgetful = 1
    with client_of(project) as client:
        with pytest.raises(LabelStudioUnreachable) as caught:
            client.import_predictions(1, [prediction(1)])
        assert caught.value.maybe_done
        assert project.unpredicted() == {2, 3, 4, 5}, "it was stored all the same"
        assert client.import_predictions(1, [prediction(2)]) == 1


def test_an_unknown_filter_is_told(project: WorkedProject) -> None:
    assert httpx.get(f"{project.url}/api/nothing").status_code == 404

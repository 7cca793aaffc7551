"""Repairing a ledger from a Label Studio that keeps the rules of the real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from backend.jobs.queues import queue
from backend.jobs.sync import Sync
from backend.jobs.sync_requests import request_syncs
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.events import parse_event
from backend.learning.ledger import Ledger
from backend.settings import Settings
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from tests.jobs.conftest import RECTANGLES
from tests.jobs.test_train import region
from tests.labelstudio_standin import LabelStudioStandin


@pytest.fixture
def ledger(connection: redis.Redis) -> Ledger:
    return Ledger(LedgerStore(connection))


@pytest.fixture
def client(label_studio: LabelStudioStandin) -> Iterator[LabelStudioClient]:
    with LabelStudioClient(label_studio.url, SecretStr(label_studio.api_key), 5.0) as one:
        yield one


@pytest.fixture
def sync(ledger: Ledger, client: LabelStudioClient) -> Sync:
    return Sync(ledger, client, "1")


def ids(ledger: Ledger) -> list[int]:
    return [entry.annotation_id for entry in ledger.entries("1")]


def add(label_studio: LabelStudioStandin, count: int) -> list[dict[str, Any]]:
    tasks = label_studio.add_tasks([{"image": f"/{n}.png"} for n in range(count)])
    return [label_studio.annotate(task, [region()]) for task in tasks]


def test_an_empty_project(sync: Sync, ledger: Ledger) -> None:
    report = sync.run()
    assert (report.tasks, report.annotations, report.changed) == (0, 0, 0)
    assert ids(ledger) == []


def test_what_no_webhook_told_comes_in_pages(
    sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin
) -> None:
    add(label_studio, 120)
    report = sync.run()
    assert (report.tasks, report.annotations, report.changed) == (120, 120, 120)
    assert ids(ledger) == list(range(1, 121))
    assert ledger.entries("1")[0].data == {"image": "/0.png"}
    assert ledger.changes("1").count == 120


def test_webhooks_and_the_list_say_the_same(
    sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin
) -> None:
    (task,) = label_studio.add_tasks([{"image": "/0.png"}])
    shown = label_studio.store(task, {"result": [region(60)], "model_version": "v"})
    event = label_studio.annotate(task, [region()], parent=shown["id"])
    ledger.apply(parse_event(event))
    told = ledger.entries("1")
    assert told[0].shown is not None
    assert sync.run().changed == 0
    assert ledger.entries("1") == told
    ledger.store.keep_only("1", [], time.time() + 1)
    assert ids(ledger) == []
    sync.run(whole=True)
    assert ledger.entries("1") == told, "the list names the prediction, which it also has"


def test_proposals_are_asked_for_where_webhooks_name_only_the_prediction(
    sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin
) -> None:
    label_studio.shows_live = True
    for task in label_studio.add_tasks([{"image": f"/{n}.png"} for n in range(3)]):
        shown = label_studio.store(task, {"result": [region(60)], "model_version": "v"})
        parent = shown["id"] if task != 1 else None
        ledger.apply(parse_event(label_studio.annotate(task, [region()], parent=parent)))
    assert [entry.shown for entry in ledger.entries("1")] == [None] * 3
    changes = ledger.changes("1").count
    assert sync.ask_for_proposals() == 2, "one was drawn from nothing"
    told = [entry.shown for entry in ledger.entries("1")]
    assert [one and (one.prediction_id, len(one.result)) for one in told] == [
        None,
        (2, 1),
        (3, 1),
    ]
    assert ledger.changes("1").count == changes, "nothing new to learn from"
    before = len(label_studio.calls)
    assert sync.ask_for_proposals() == 0
    assert len(label_studio.calls) == before


def test_where_nothing_changed_nothing_is_read(
    sync: Sync, label_studio: LabelStudioStandin
) -> None:
    add(label_studio, 2)
    sync.run()
    before = len(label_studio.calls)
    assert sync.run().unchanged
    assert len(label_studio.calls) == before + 1
    assert not sync.run(whole=True).unchanged
    label_studio.delete_annotation(1)
    assert sync.run().changed == 1


@pytest.mark.parametrize("how", ["annotation", "task"])
def test_what_is_gone_is_forgotten_for_good(
    sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin, how: str
) -> None:
    first, _ = add(label_studio, 2)
    sync.run()
    if how == "annotation":
        label_studio.delete_annotation(1)
    else:
        label_studio.delete_task(1)
    assert sync.run(whole=True).changed == 1
    ledger.apply(parse_event(first))
    assert ids(ledger) == [2], "the late webhook of what is gone changes nothing"


def test_a_skip_stays_one(sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin) -> None:
    (task,) = label_studio.add_tasks([{"image": "/0.png"}])
    label_studio.annotate(task, [region()], skipped=True)
    sync.run()
    assert [entry.skipped for entry in ledger.entries("1")] == [True]
    ledger.apply(parse_event(label_studio.change_annotation(1, was_cancelled=False)))
    assert [entry.skipped for entry in ledger.entries("1")] == [False]


def test_what_came_in_while_the_list_was_read_stays(
    ledger: Ledger,
    label_studio: LabelStudioStandin,
    client: LabelStudioClient,
    connection: redis.Redis,
) -> None:
    add(label_studio, 1)

    class Meanwhile(LedgerStore):
        def keep_only(self, *args: Any, **kwargs: Any) -> int:
            ledger.apply(parse_event(add(label_studio, 1)[0]))
            ledger.apply(parse_event(label_studio.delete_annotation(1)))
            return super().keep_only(*args, **kwargs)

    Sync(Ledger(Meanwhile(connection)), client, "1").run()
    assert ids(ledger) == [2]


def test_what_was_wrongly_reported_deleted_lives_again(
    sync: Sync, ledger: Ledger, label_studio: LabelStudioStandin
) -> None:
    add(label_studio, 1)
    gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 1}}
    ledger.apply(parse_event(gone))
    sync.run()
    assert ids(ledger) == [1]


@pytest.mark.parametrize(
    ("key", "projects", "jobs"),
    [("", ["1"], 0), ("k" * 40, [], 0), ("k" * 40, ["1", "2", "x"], 2)],
    ids=["no key", "no project", "each project with a number"],
)
def test_once_a_start_of_the_fleet(
    connection: redis.Redis,
    settings: Callable[..., Settings],
    key: str,
    projects: list[str],
    jobs: int,
) -> None:
    own = settings(label_studio_api_key=key)
    for project in projects:
        ProjectStore(connection).remember_setup(
            project, label_config=RECTANGLES, extra_params={}, hostname=""
        )
    requested = request_syncs(connection, own, time.time())
    assert len(requested) == jobs
    assert request_syncs(connection, own, time.time()) == [], "another machine did"
    assert queue(connection, "train").get_job_ids() == requested

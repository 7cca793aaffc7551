"""When a project is trained, and that only one training of it is about."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from backend.jobs.queues import queue
from backend.jobs.training import (
    is_due,
    request_due_trainings,
    request_training,
    training_begins,
    training_ended,
)
from backend.settings import Settings
from backend.store import keys
from backend.store.ledgers import AnnotationRow, Changes, LedgerStore, TaskRow

SettingsOf = Callable[..., Settings]


def change(connection: redis.Redis, count: int, project: str = "1", order: str = "1") -> None:
    rows = [AnnotationRow(number, 1, order, True, b"{}") for number in range(count)]
    LedgerStore(connection).put(project, [TaskRow(1, "1", b"{}")], rows)


def waiting(connection: redis.Redis) -> list[str]:
    return list(queue(connection, "train").get_job_ids())


@pytest.mark.parametrize(
    ("count", "quiet_s", "due"),
    [(0, 1e6, False), (1, 0, False), (1, 29, False), (1, 30, True), (4, 1, False), (5, 0, True)],
)
def test_enough_or_quiet(settings: SettingsOf, count: int, quiet_s: float, due: bool) -> None:
    assert is_due(Changes(count, quiet_s), settings(train_every=5, train_idle_s=30)) is due


def test_requests_are_one_training(connection: redis.Redis, settings: SettingsOf) -> None:
    own, now_s = settings(), time.time()
    first = request_training(connection, own, "1.1795224262", now_s)
    assert {request_training(connection, own, "1", now_s) for _ in range(20)} == {first}
    other = request_training(connection, own, "2", now_s)
    assert waiting(connection) == [first, other]


def test_changes_make_a_training_due(connection: redis.Redis, settings: SettingsOf) -> None:
    own, later = (settings(train_every=3, train_idle_s=idle_s) for idle_s in (3600, 0.01))
    change(connection, 2)
    assert request_due_trainings(connection, own, time.time()) == {}
    time.sleep(0.05)
    requested = request_due_trainings(connection, later, time.time())
    assert list(requested) == ["1"]
    assert request_due_trainings(connection, later, time.time()) == requested, "the same one"
    change(connection, 3, "2")
    assert set(request_due_trainings(connection, later, time.time())) == {"1", "2"}
    assert len(waiting(connection)) == 2


def test_a_change_during_a_training_leads_to_one_more(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings(train_every=1)
    change(connection, 1)
    first = request_training(connection, own, "1", time.time())
    assert training_begins(connection, "1") is False
    assert request_due_trainings(connection, own, time.time()) == {}, "all of it is being learned"
    for order in ("2", "3", "4"):
        change(connection, 1, order=order)
        assert request_due_trainings(connection, own, time.time()) == {"1": first}
    training_ended(connection, "1", first)
    second = request_due_trainings(connection, own, time.time())["1"]
    assert second != first
    assert training_begins(connection, "1") is False
    training_ended(connection, "1", second)
    assert request_due_trainings(connection, own, time.time()) == {}


def test_one_that_is_asked_for_while_another_runs_follows_it(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings()
    first = request_training(connection, own, "1", time.time(), asked=True)
    assert training_begins(connection, "1") is True
    assert request_training(connection, own, "1", time.time(), asked=True) == first
    training_ended(connection, "1", first)
    assert list(request_due_trainings(connection, own, time.time())) == ["1"]
    assert training_begins(connection, "1") is True
    assert training_begins(connection, "1") is False


def test_the_end_of_an_older_one_frees_nothing(
    connection: redis.Redis, settings: SettingsOf
) -> None:
    own = settings()
    job_id = request_training(connection, own, "1", time.time())
    training_ended(connection, "1", "train-0-older")
    assert request_training(connection, own, "1", time.time()) == job_id


def test_one_whose_job_was_lost_is_replaced(connection: redis.Redis, settings: SettingsOf) -> None:
    connection.set(keys.training("1"), "train-1-gone")
    job_id = request_training(connection, settings(), "1", time.time())
    assert waiting(connection) == [job_id]

"""`jobs` over a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from typer.testing import CliRunner, Result

from backend.cli.app import build_app
from backend.domain import Failed
from backend.errors import JobNotFound, RequestError
from backend.jobs.parking import park_tasks, park_training
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.queues import queue
from backend.settings import Settings


def run(redis_url: str, *arguments: str) -> Result:
    given = ["jobs", *arguments]
    return CliRunner().invoke(
        build_app(given), given, env={"REDIS_URL": redis_url}, catch_exceptions=False
    )


@pytest.fixture
def two_failed(connection: redis.Redis, settings: Callable[..., Settings]) -> list[str]:
    """A carrier's tasks, then a training."""
    tasks = tuple(CarrierTask(f"key{number}", number, {}) for number in range(7))
    carrier = Carrier("3", "v", "", "", tasks)
    failures = {task.key: Failed("media_missing", "no picture") for task in tasks}
    park_tasks(connection, settings(), carrier, failures)
    registry = queue(connection, "bulk").failed_job_registry
    (carried,) = registry.get_job_ids()
    connection.zadd(registry.key, {carried: 3 * 24 * 3600 + 60 + 4e9})
    park_training(connection, settings(), "4", {"project_id": "4"}, "It is not better.")
    connection.zadd(
        queue(connection, "train").failed_job_registry.key, {"refused-4": 3 * 24 * 3600 + 4e9}
    )
    return [carried, "refused-4"]


def test_the_list_tells_what_failed_and_why(redis_url: str, two_failed: list[str]) -> None:
    told = run(redis_url, "list")
    assert (told.exit_code, told.stdout.splitlines()) == (0, [
        f"{two_failed[0]}  2096-10-02 07:07+00:00  predict  "
        "project 3, 7 tasks (0, 1, 2, 3, 4, …)",
        "        7 of 7 tasks failed. media_missing (7): no picture",
        "refused-4  2096-10-02 07:06+00:00  train, refused  project 4",
        "        It is not better.",
    ])  # fmt: skip
    rows = json.loads(run(redis_url, "list", "--json").stdout)
    assert [(row["id"], row["kind"], row["tasks"]) for row in rows] == [
        (two_failed[0], "predict", 7),
        (two_failed[1], "train", 0),
    ]
    assert len(json.loads(run(redis_url, "list", "--json", "--most", "1").stdout)) == 1


def test_one_job_is_tried_again(
    redis_url: str, connection: redis.Redis, two_failed: list[str]
) -> None:
    told = run(redis_url, "retry", two_failed[0])
    assert told.stdout == f"Job {two_failed[0]} is tried again.\n"
    assert queue(connection, "bulk").get_job_ids() == two_failed[:1]
    with pytest.raises(JobNotFound, match="has failed"):
        run(redis_url, "retry", two_failed[0])


def test_all_are_tried_again(redis_url: str, two_failed: list[str]) -> None:
    assert json.loads(run(redis_url, "retry", "--all", "--json").stdout) == {"retried": two_failed}
    assert run(redis_url, "retry", "--all").stdout == "Nothing has failed.\n"
    assert run(redis_url, "list").stdout == "Nothing has failed.\n"
    assert json.loads(run(redis_url, "list", "--json").stdout) == []


@pytest.mark.parametrize(
    "arguments", [("retry",), ("retry", "x", "--all"), ("list", "x"), ("list", "--all")]
)
def test_arguments_that_do_not_go_together_are_refused(
    redis_url: str, connection: redis.Redis, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(RequestError):
        run(redis_url, *arguments)


def test_an_unknown_action_is_refused(redis_url: str, connection: redis.Redis) -> None:
    assert run(redis_url, "erase").exit_code == 2


def test_the_help_shows_how(redis_url: str) -> None:
    told = run(redis_url, "--help").stdout
    assert "python -m backend jobs list" in told
    assert "python -m backend jobs retry --all" in told

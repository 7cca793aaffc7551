"""`evaluate`: which numbers it measures with, and what it refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from backend.cli.app import build_app
from backend.cli.evaluate import usual_numbers
from backend.errors import ConfigError
from backend.learning.ledger import Ledger
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from tests.cli.test_report import CONFIG, submit
from tests.learning.test_reviews import region


@pytest.mark.parametrize(
    ("pool", "numbers"),
    [
        (1, (0, 1)),
        (3, (0, 3)),
        (6, (0, 3, 6)),
        (20, (0, 3, 10, 20)),
        (1700, (0, 3, 10, 20, 50, 100, 200, 500, 1000, 1700)),
    ],
)
def test_all_that_is_accepted_is_measured_at_last(pool: int, numbers: tuple[int, ...]) -> None:
    assert usual_numbers(pool) == numbers


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([], "0 accepted pictures that can be read, with 0 boxes"),
        ([[region("a")]], "1 accepted pictures that can be read, with 1 boxes"),
        ([[], []], "2 accepted pictures that can be read, with 0 boxes"),
        (
            [[region("a", "removed")], [region("b", "removed")]],
            "with 0 boxes of the labels in its configuration",
        ),
    ],
    ids=["nothing", "one", "no box", "labels that are gone"],
)
def test_what_cannot_be_measured_is_told_at_once(
    redis_url: str,
    connection: redis.Redis,
    tmp_path: Path,
    results: list[list[dict[str, object]]],
    told: str,
) -> None:
    ProjectStore(connection).remember_setup("3", label_config=CONFIG, extra_params={}, hostname="")
    ledger = Ledger(LedgerStore(connection))
    for task, result in enumerate(results, 1):
        submit(ledger, task, result, None)
    given = ["evaluate", "--project", "3"]
    # Weights that cannot be loaded: they are not, for nothing.
    weights = tmp_path / "empty.safetensors"
    weights.touch()
    env = {"REDIS_URL": redis_url, "BACKBONE_WEIGHTS": str(weights)}
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(build_app(given), given, env=env, catch_exceptions=False)

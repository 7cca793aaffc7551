"""`heads` over a real Redis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from backend.cli.app import build_app
from backend.domain import BackboneIdentity
from backend.errors import ConfigError, RequestError, UnknownName
from backend.jobs.queues import queue
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.store.fleet import Fleet
from backend.store.heads import HeadStore
from backend.store.projects import ProjectStore

SETTINGS = {"LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": "key"}


@pytest.fixture
def versions(connection: redis.Redis) -> HeadVersions:
    """Two heads of project 1; the second one, of other weights, is in use."""
    ProjectStore(connection).remember_setup(
        "1", label_config="<View/>", extra_params={}, hostname=""
    )
    Fleet(connection).publish_identity(BackboneIdentity("mobilenet_v2", "beef", 224))
    versions = HeadVersions(HeadStore(connection, most=5))
    for number, digest in enumerate(("beef", "feed")):
        meta = VersionMeta(
            5.5, "mobilenet_v2", digest, ("cat",), 3 + number, metrics={"f1_50": 0.75},
            verdict=f"Not worse: reason {number}.",
        )  # fmt: skip
        versions.publish("1", Learned(bytes([number]), meta, {}), instead_of=number)
    return versions


def run(redis_url: str, *arguments: str, **env: str) -> Result:
    given = ["heads", *arguments]
    told = CliRunner().invoke(
        build_app(given), given, env={"REDIS_URL": redis_url, **env}, catch_exceptions=False
    )
    assert told.exit_code == 0
    return told


def test_the_list_tells_which_is_in_use_and_why(redis_url: str, versions: HeadVersions) -> None:
    lines = run(redis_url, "list", "--project", "1").stdout.splitlines()
    assert lines[0] == "*    2  1970-01-01 00:00+00:00  4 pictures  f1_50 0.750"
    assert lines[1].strip() == "Not worse: reason 1."
    assert lines[2].strip() == "Learned on mobilenet_v2 feed: of no use now."
    assert lines[3].split()[0] == "1"
    assert lines[4:] == ["        Not worse: reason 0."]
    rows = json.loads(run(redis_url, "list", "--project", "1", "--json").stdout)
    assert [(row["number"], row["current"]) for row in rows] == [(2, True), (1, False)]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "Project 1 uses no head: the zero-shot way predicts."),
        (1, "Project 1 uses head 1."),
        (2, "Project 1 uses head 2 once its backbone feed is in use; with mobilenet_v2 beef the "
            "zero-shot way predicts."),
    ],
)  # fmt: skip
def test_use_moves_the_pointer_and_tells_what_follows(
    redis_url: str, connection: redis.Redis, versions: HeadVersions, number: int, told: str
) -> None:
    first = run(redis_url, "use", "--project", "1", "--number", str(number)).stdout
    assert first == told + "\n"
    assert versions.current("1").number == number
    assert queue(connection, "train").job_ids == []
    lines = run(
        redis_url, "use", "--project", "1", "--number", str(number), **SETTINGS
    ).stdout.splitlines()
    (job_id,) = queue(connection, "train").job_ids
    assert lines == [told, f"Predictions of its open tasks are made anew (job {job_id})."]


def test_from_one_installation_to_another(
    redis_url: str, versions: HeadVersions, tmp_path: Path
) -> None:
    files = run(
        redis_url, "export", "--project", "1", "--number", "1", "--path", str(tmp_path)
    ).stdout.split()
    assert [Path(file).name for file in files] == ["head-1.safetensors", "head-1.json"]
    told = run(redis_url, "import", "--project", "8", "--path", files[0]).stdout
    assert told.startswith("Head 1 of project 8;")
    # Its heads make a project known before Label Studio has set it up.
    assert run(redis_url, "use", "--project", "8", "--number", "1").stdout
    assert versions.current("8").number == 1


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("use", "--number", "0"), ("export", "--number", "1", "--path", "x")],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_project_is_told(
    redis_url: str, connection: redis.Redis, versions: HeadVersions, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"Project 4 is not known here.*Known: 1"):
        run(redis_url, *arguments, "--project", "4", **SETTINGS)
    assert queue(connection, "train").job_ids == []


def test_what_is_missing_or_unknown_is_told(redis_url: str, versions: HeadVersions) -> None:
    with pytest.raises(RequestError, match="--number is missing"):
        run(redis_url, "use", "--project", "1")
    with pytest.raises(UnknownName, match="Known: 0, 1, 2"):
        run(redis_url, "use", "--project", "1", "--number", "7")

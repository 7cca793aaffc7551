"""/setup: what is remembered, what is answered."""

from __future__ import annotations

import statistics
import time
from typing import Any

import httpx
import pytest
import redis
import structlog

from backend.store.projects import ProjectStore
from tests.server.conftest import LABEL_CONFIG

TOKEN = "0123456789abcdef0123456789abcdef01234567"


def _body(**changes: Any) -> dict[str, Any]:
    return {
        "project": "7.1795224262",
        "schema": LABEL_CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": TOKEN,
        "extra_params": None,
    } | changes


@pytest.mark.parametrize(
    ("extra_params", "kept"),
    [
        (None, {}),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
        ('{"threshold": 0.4}', {"threshold": 0.4}),
        ("plain", {}),
        ("", {}),
        ([1, 2], {}),
        (3, {}),
        (0.5, {}),
        (False, {}),
    ],
    ids=["null", "object", "json-text", "plain", "empty", "list", "int", "float", "bool"],
)
def test_any_extra_params_connect(
    client: httpx.Client, connection: redis.Redis, extra_params: Any, kept: dict[str, Any]
) -> None:
    reply = client.post("/setup", json=_body(extra_params=extra_params))
    assert reply.status_code == 200
    assert reply.json()["model_version"].startswith("mobilenet_v2-0-")
    project = ProjectStore(connection).get("7")
    assert project is not None
    assert project.label_config == LABEL_CONFIG
    assert project.extra_params == kept
    assert project.hostname == "http://localhost:8080"


def test_the_token_is_not_kept_nor_logged(client: httpx.Client, connection: redis.Redis) -> None:
    with structlog.testing.capture_logs() as logged:
        assert client.post("/setup", json=_body()).status_code == 200
    assert logged
    assert TOKEN not in str(logged)
    seen = 0
    for key in connection.scan_iter():
        if connection.type(key) == b"hash":
            seen += 1
            assert TOKEN not in str(connection.hgetall(key))
    assert seen


def test_the_version_changes_with_the_labels_only(client: httpx.Client) -> None:
    def version(**changes: Any) -> str:
        return str(client.post("/setup", json=_body(**changes)).json()["model_version"])

    first = version()
    assert version() == first
    assert version(extra_params={"x": 1}, hostname="http://other") == first
    assert version(schema=LABEL_CONFIG.replace("Raccoon", "Fox")) != first


@pytest.mark.parametrize(
    "label_config",
    [None, "", "<View", "<View/>", "not xml", '<View><Text name="t" value="$t"/></View>', "\x00"],
    ids=["null", "empty", "cut", "no-control", "words", "no-picture", "nul"],
)
def test_an_unservable_configuration_connects_and_is_told_at_health(
    client: httpx.Client, label_config: str | None
) -> None:
    reply = client.post("/setup", json=_body(schema=label_config))
    assert reply.status_code == 200
    assert reply.json()["model_version"] == "mobilenet_v2-unservable"
    assert reply.json()["error"]["error"] == "label_config_invalid"
    (problem,) = client.get("/health").json()["problems"]
    assert problem["project"] == "7"
    assert problem["what"] == reply.json()["error"]["what"]
    assert problem["remedy"]
    client.post("/setup", json=_body())
    assert client.get("/health").json()["problems"] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"project":[]}', b'{"schema":1}'])
def test_a_malformed_call_is_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/setup", content=body)
    assert reply.status_code == 422
    assert set(reply.json()) == {"error", "what", "remedy", "request_id"}


def test_a_setup_without_project_is_answered(client: httpx.Client, connection: redis.Redis) -> None:
    assert client.post("/setup", json={"schema": LABEL_CONFIG}).json()["model_version"]
    assert ProjectStore(connection).all_ids() == []


def test_takes_less_than_200_ms(client: httpx.Client) -> None:
    took_s = []
    for _ in range(9):
        started_s = time.perf_counter()
        client.post("/setup", json=_body())
        took_s.append(time.perf_counter() - started_s)
    assert statistics.median(took_s) < 0.2


def test_versions_of_all_servable_projects(client: httpx.Client) -> None:
    assert client.get("/versions").json() == {"versions": []}
    first = client.post("/setup", json=_body(project="1")).json()["model_version"]
    client.post("/setup", json=_body(project="2"))
    client.post("/setup", json=_body(project="3", schema="<View/>"))
    other = LABEL_CONFIG.replace("Raccoon", "Fox")
    second = client.post("/setup", json=_body(project="4", schema=other)).json()["model_version"]
    assert client.get("/versions").json() == {"versions": [first, second]}

"""Basic authentication."""

from __future__ import annotations

import base64

import httpx
import pytest
from pydantic import SecretStr

from tests.server.conftest import Serve

USER, PASSWORD = "müller", "p@ss:wörd"


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def guarded(serve: Serve) -> httpx.Client:
    return serve(basic_auth_user=USER, basic_auth_pass=SecretStr(PASSWORD))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic \xff", 401),
        (_basic(":"), 401),
        (_basic(f"{USER}:"), 401),
        (_basic(f"{USER}:{PASSWORD}x"), 401),
        (_basic(f"{USER}:{PASSWORD}").replace("Basic", "Bearer"), 401),
        (_basic(f"{USER}:{PASSWORD}"), 200),
        (_basic(f"{USER}:{PASSWORD}").replace("Basic", "basic"), 200),
    ],
    ids=[
        "none", "empty", "scheme-only", "not-base64", "not-ascii", "empty-pair", "no-password",
        "wrong-password", "bearer", "right", "lower-case-scheme",
    ],
)  # fmt: skip
def test_health_asks_for_credentials(
    guarded: httpx.Client, header: str | None, status: int
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    reply = guarded.get("/health", headers=headers)  # type: ignore[arg-type]
    assert reply.status_code == status
    if status == 401:
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")
        assert set(reply.json()) == {"error", "what", "remedy", "request_id"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 401),
        ("POST", "/setup", 401),
        ("POST", "/predict", 401),
        ("POST", "/webhook", 401),
        ("GET", "/versions", 401),
        ("GET", "/jobs/x", 401),
        ("DELETE", "/jobs/x", 401),
        ("GET", "/metrics", 401),
        ("GET", "/docs", 401),
        ("GET", "/openapi.json", 401),
        ("GET", "/nowhere", 401),
        ("GET", "/healthz", 200),
    ],
)
def test_everything_but_the_probe_is_guarded(
    guarded: httpx.Client, method: str, path: str, status: int
) -> None:
    assert guarded.request(method, path).status_code == status


def test_without_credentials_set_nobody_is_asked(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/health", headers={"Authorization": "Basic !!!"}).status_code == 200

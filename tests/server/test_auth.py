"""Basic authentication."""

from __future__ import annotations

import base64
from secrets import compare_digest

import httpx
import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from backend.errors import SettingsInvalid
from backend.server import auth
from backend.settings import load_settings
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


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/health", "/predict", "/nowhere", "/healthz/", "/%2fhealthz"])
def test_no_method_and_no_spelling_is_a_way_round(
    guarded: httpx.Client, method: str, path: str
) -> None:
    assert guarded.request(method, guarded.base_url.join(path)).status_code == 401


def test_credentials_in_the_address_are_those_that_label_studio_sends(
    guarded: httpx.Client,
) -> None:
    """requests and httpx both make a Basic header of them; so do Label Studio's webhooks."""
    given = guarded.base_url.copy_with(username=USER, password=PASSWORD)
    event = {"action": "PROJECT_UPDATED", "project": {"id": 1}}
    assert httpx.post(given.join("/webhook"), json=event).status_code == 200


def test_comparison_is_made_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is given, two digests of one length are compared, once."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return compare_digest(given, expected)

    monkeypatch.setattr("backend.server.auth.secrets.compare_digest", compare)
    known = {"basic_auth_user": USER, "basic_auth_pass": SecretStr(PASSWORD)}
    guard = auth.BasicAuth(_never, load_settings(**known))
    tried = ["", "Basic", "Basic !!!", "Basic \xff", _basic(":"), _basic(USER * 1000)]
    for header in [*tried, _basic(f"{USER}:{PASSWORD}")]:
        scope = {"type": "http", "headers": [(b"authorization", header.encode("latin-1"))]}
        guard._knows(Headers(scope=scope).get("authorization", ""))
    assert len(compared) == len(tried) + 1
    assert {len(part) for pair in compared for part in pair} == {32}
    assert [given == expected for given, expected in compared] == [False] * len(tried) + [True]


async def _never(*_: object) -> None:
    raise AssertionError("nothing is passed on here")


def test_a_colon_in_the_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH_USER", "a:b")
    monkeypatch.setenv("BASIC_AUTH_PASS", "hunter2")
    with pytest.raises(SettingsInvalid, match="without a colon") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)

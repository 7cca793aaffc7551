"""The application as a whole: imports, start, errors, headers, description."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from backend.server.app import create_app
from backend.settings import Settings
from tests.server.conftest import Serve, serving

HEAVY = ("torch", "torchvision", "cv2", "label_studio_ml", "flask", "label_studio_sdk")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["backend.server", "backend.server.app"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & set(HEAVY)
    assert module == "backend.server" or "fastapi" in loaded  # the list is the real one


def test_starts_in_about_a_second(settings: Callable[..., Settings]) -> None:
    started_s = time.monotonic()
    with serving(create_app(settings())) as base:
        assert httpx.get(base + "/health").status_code == 200
    assert time.monotonic() - started_s < 3  # includes the stop


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/health/", 404, "not_found"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/predict", 405, "method_not_allowed"),
    ],
    ids=["unknown", "trailing-slash", "wrong-method", "get-predict"],
)
def test_refusals_of_the_router_have_the_one_shape(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    told = reply.json()
    assert set(told) == {"error", "what", "remedy", "request_id"}
    assert told["error"] == code
    assert path in told["what"]


def test_an_unknown_failure_is_a_500_without_internals(
    settings: Callable[..., Settings],
) -> None:
    app = create_app(settings())

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("the secret is 42")

    with serving(app) as base:
        reply = httpx.get(base + "/broken", headers={"X-Request-ID": "abc-1"}, timeout=30)
        after = httpx.get(base + "/healthz")
    assert reply.status_code == 500
    assert reply.json()["error"] == "internal"
    assert reply.json()["request_id"] == "abc-1" == reply.headers["X-Request-ID"]
    assert "42" not in reply.text
    assert "ZeroDivision" not in reply.text
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("run-7.a_B", True),
        ("", False),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ('"><script>', False),
    ],
    ids=["sane", "empty", "longest", "too-long", "space", "markup"],
)
def test_request_id(client: httpx.Client, given: str, kept: bool) -> None:
    told = client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert (told == given) is kept
    assert told


def test_security_headers(client: httpx.Client) -> None:
    for path in ("/healthz", "/nowhere", "/docs"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_docs_tell_every_route_and_load_nothing(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text
    assert "http" not in page.text.split("<h2>")[0].replace("http-equiv", "")


def test_openapi_names_all_routes(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/", "/health", "/healthz", "/setup", "/predict", "/webhook", "/versions",
        "/explain", "/jobs/{job_id}", "/jobs/{job_id}/retry", "/metrics", "/docs",
    }  # fmt: skip
    assert set(paths["/jobs/{job_id}"]) == {"get", "delete"}


def test_the_pages_tell_every_route_and_metric(client: httpx.Client) -> None:
    page = (ROOT / "docs" / "http.md").read_text("utf-8").replace("{id}", "{job_id}")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}`" in page
    page = (ROOT / "docs" / "seeing.md").read_text("utf-8")
    own = re.findall(r"^# HELP (lsb_\w+)", client.get("/metrics").text, re.MULTILINE)
    assert len(own) > 4
    for name in own:
        if name.endswith("_created"):  # the client library adds it to each
            continue
        assert f"`{name}`" in page


@pytest.mark.parametrize(
    "path", ["/setup", "/predict", "/versions", "/explain?project=1&task=1", "/jobs/x"]
)
def test_redis_away_is_a_503_with_a_remedy(serve: Serve, tmp_path: Path, path: str) -> None:
    away = serve(redis_url=f"unix://{tmp_path}/nobody.sock")
    body = {"tasks": [], "project": "1", "label_config": "<View/>"}
    posts = path in ("/setup", "/predict")
    reply = away.post(path, json=body) if posts else away.get(path)
    assert reply.status_code == 503
    assert reply.json()["error"] == "store_unavailable"
    assert reply.json()["remedy"]

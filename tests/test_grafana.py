"""The dashboard and the alerts ask for metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from backend.server.app import create_app
from backend.settings import Settings
from tests.server.conftest import serving
from tests.server.filled import fill

PLUGIN = Path(__file__).resolve().parents[1] / "plugin_config"
DASHBOARD: dict[str, Any] = json.loads((PLUGIN / "grafana" / "dashboard.json").read_text("utf-8"))
ALERTS_PATH = PLUGIN / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(ALERTS_PATH.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

_SELECTOR = re.compile(r"\b((?:lsb|process)_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")


@pytest.fixture
def series(
    settings: Callable[..., Settings], connection: redis.Redis
) -> dict[str, list[dict[str, str]]]:
    """Labels of every sample of a backend that has something of everything, by its name."""
    fill(connection, settings())
    with serving(create_app(settings())) as base, httpx.Client(base_url=base) as client:
        client.post("/predict", json={"tasks": [], "project": "7"})
        client.post("/webhook", json={"action": "PROJECT_CREATED"})
        client.get("/nowhere")
        text = client.get("/metrics").text
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def _matchers(text: str) -> Iterator[tuple[str, str, str]]:
    for name, how, value in re.findall(r'(\w+)(=~|=|!=|!~)"([^"]*)"', text):
        if name != "job":  # Prometheus adds it
            yield name, how, value


def _fits(labels: dict[str, str], text: str) -> bool:
    for name, how, value in _matchers(text):
        if how.startswith("="):
            pattern = value if "~" in how else re.escape(value)
            if not re.fullmatch(pattern, labels.get(name, "")):
                return False
    return True


def test_every_expression_finds_series(series: dict[str, list[dict[str, str]]]) -> None:
    for expression in [*EXPRESSIONS, *(rule["expr"] for rule in RULES)]:
        selectors = _SELECTOR.findall(expression)
        assert selectors, expression
        for name, matchers in selectors:
            assert name in series, f"{name} is not in /metrics: {expression}"
            assert any(_fits(labels, matchers) for labels in series[name]), expression
        wanted = {label for text in _BY.findall(expression) for label in text.split(", ")}
        had = {label for name, _ in selectors for one in series[name] for label in one}
        assert wanted - {"job"} <= had, expression


def test_it_is_what_grafana_reads() -> None:
    """Its own library reads it, and writes all of it again."""
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert list(_lost(DASHBOARD, again, "")) == []


def _lost(wanted: Any, had: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(had, dict):
        for name, value in wanted.items():
            if name not in had:
                yield f"{path}/{name} is unknown"
            else:
                yield from _lost(value, had[name], f"{path}/{name}")
    elif isinstance(wanted, list) and isinstance(had, list) and len(wanted) == len(had):
        for at, (one, other) in enumerate(zip(wanted, had, strict=True)):
            yield from _lost(one, other, f"{path}/{at}")
    elif wanted != had:
        yield f"{path}: {wanted!r} became {had!r}"


def test_panels_have_places_and_words() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    assert all("$job" in expression for expression in EXPRESSIONS)


def test_grafana_is_told_where_both_lie() -> None:
    folder = PLUGIN / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards" / "backend.yml").read_text("utf-8"))[
        "providers"
    ]
    page = (PLUGIN.parent / "docs" / "seeing.md").read_text("utf-8")
    assert f"dashboard.json:{provider['options']['path']}/" in page
    assert all(str(rule["alert"]) in page for rule in RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed.")
@pytest.mark.parametrize(("kind", "name"), [("rules", "alerts.yml"), ("config", "prometheus.yml")])
def test_prometheus_accepts_its_files(kind: str, name: str) -> None:
    command = ["promtool", "check", kind, name]
    done = subprocess.run(command, cwd=ALERTS_PATH.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

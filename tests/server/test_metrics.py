"""/metrics in Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families

from backend.server.app import create_app
from backend.server.metrics import ServerMetrics
from backend.server.overview import Overview
from backend.settings import Settings
from backend.store.counters import Counters
from backend.store.fleet import Fleet, WorkerInfo
from tests.server.conftest import Serve

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _read(client: httpx.Client) -> Samples:
    reply = client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    return _samples(reply.text)


def test_requests_by_route(client: httpx.Client) -> None:
    client.get("/jobs/one")
    client.get("/jobs/two")
    client.get("/nowhere/7")
    client.post("/webhook", json={"action": "TASKS_CREATED"})
    client.post("/webhook", json={"action": "invented-by-a-caller"})
    found = _read(client)

    def requests(method: str, route: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return found["lsb_http_requests_total", labels]

    assert requests("GET", "/jobs/{job_id}", "404") == 2
    assert requests("GET", "unmatched", "404") == 1
    assert requests("POST", "/webhook", "200") == 2
    assert found["lsb_http_request_seconds_count", (("route", "/webhook"),)] == 2
    assert found["lsb_webhooks_total", (("action", "TASKS_CREATED"),)] == 1
    assert found["lsb_webhooks_total", (("action", "other"),)] == 1


def test_what_workers_counted(client: httpx.Client, connection: redis.Redis) -> None:
    counters = Counters(connection)
    counters.add("tasks", {"outcome": "predicted"}, 3)
    counters.add("tasks", {"outcome": "failed", "code": "media_missing"})
    counters.add("odd name", {})
    Fleet(connection).beat(WorkerInfo("a", "here", 1, "cpu", "mobilenet_v2", "ready"))
    found = _read(client)
    assert found["lsb_redis_up", ()] == 1
    assert found["lsb_queue_jobs", (("queue", "interactive"),)] == 0
    assert found["lsb_workers", (("state", "ready"),)] == 1
    assert found["lsb_tasks_total", (("code", ""), ("outcome", "predicted"))] == 3
    assert found["lsb_tasks_total", (("code", "media_missing"), ("outcome", "failed"))] == 1
    assert found["lsb_odd_name_total", ()] == 1


def test_without_redis_the_rest_is_told(serve: Serve, tmp_path: Path) -> None:
    client = serve(redis_url=f"unix://{tmp_path}/nobody.sock")
    client.get("/healthz")
    found = _read(client)
    assert found["lsb_redis_up", ()] == 0
    labels = (("method", "GET"), ("route", "/healthz"), ("status", "200"))
    assert found["lsb_http_requests_total", labels] == 1
    assert not any(name == "lsb_workers" for name, _ in found)


def test_two_applications_count_apart(settings: Callable[..., Settings]) -> None:
    first = create_app(settings()).state.server.metrics
    second = create_app(settings()).state.server.metrics
    first.count_webhook("other")
    assert b'action="other"' in first.render(Overview())
    assert b'action="other"' not in second.render(Overview())


def test_nothing_yet() -> None:
    assert _samples(ServerMetrics().render(Overview()).decode())["lsb_redis_up", ()] == 1

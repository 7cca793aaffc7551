"""/metrics in Prometheus' own parser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from backend.server.app import create_app
from backend.server.metrics import ServerMetrics
from backend.server.overview import Overview
from backend.settings import Settings
from backend.store.counters import Counters
from backend.store.fleet import Fleet, WorkerInfo
from tests.server.conftest import Serve
from tests.server.filled import fill

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
    assert found["lsb_workers", (("kind", "predict"), ("state", "ready"))] == 1
    assert found["lsb_workers", (("kind", "train"), ("state", "ready"))] == 0
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


@pytest.fixture
def filled(
    client: httpx.Client, connection: redis.Redis, settings: Callable[..., Settings]
) -> httpx.Client:
    """A client of a backend that has something of everything."""
    fill(connection, settings())
    return client


def test_what_is_counted_of_work_and_learning(filled: httpx.Client) -> None:
    found = _read(filled)
    told = {
        ("lsb_failed_jobs", "queue", "bulk"): 1,
        ("lsb_cache_lookups_total", "result", "hit"): 30,
        ("lsb_tasks_failed_total", "code", "media_missing"): 2,
        ("lsb_trainings_total", "outcome", "published"): 3,
        ("lsb_stage_seconds_total", "stage", "forward"): 2.5,
        ("lsb_reviewed_pictures", "outcome", "untouched"): 1,
        ("lsb_reviewed_pictures", "outcome", "edited"): 3,
        ("lsb_reviewed_boxes", "outcome", "kept"): 2,
        ("lsb_reviewed_boxes", "outcome", "rejected"): 1,
        ("lsb_reviewed_boxes", "outcome", "missed"): 1,
        ("lsb_batch_pictures_bucket", "le", "2"): 0,
        ("lsb_batch_pictures_bucket", "le", "4"): 2,
        ("lsb_batch_pictures_bucket", "le", "8"): 16,
        ("lsb_batch_pictures_bucket", "le", "+Inf"): 16,
    }
    assert {key: found[key[0], ((key[1], key[2]),)] for key in told} == told
    assert found["lsb_batch_pictures_count", ()] == 16
    assert found["lsb_batch_pictures_sum", ()] == 120
    assert found["lsb_predictions_to_push", ()] == 1
    assert found["lsb_interactive_total", ()] == 0, "told before it was ever counted"
    failed = (("code", "unexpected"), ("queue", "predict"))
    assert found["lsb_jobs_failed_total", failed] == 1


def test_names_and_labels_follow_prometheus(filled: httpx.Client) -> None:
    text = filled.get("/metrics").text
    for family in text_string_to_metric_families(text):
        name = family.name
        if name.endswith("_created"):  # the client library adds it to each counter
            continue
        assert re.fullmatch(r"(lsb|process)_[a-z]+(_[a-z]+)*", name)
        assert family.documentation, name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|percent|total)$", name), name
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels <= {
            "route", "method", "status", "action", "queue", "kind", "state", "outcome",
            "result", "reason", "code", "stage", "le", "version",
        }, f"{name}: projects, tasks, jobs and workers are no labels"  # fmt: skip
    if promtool := shutil.which("promtool"):  # where Prometheus is installed, its own opinion
        done = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_many_projects_and_tasks_open_no_series(filled: httpx.Client) -> None:
    def stir(numbers: range) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        for number in numbers:
            filled.post("/setup", json={"project": str(100 + number), "schema": "<View/>"})
            filled.get(f"/jobs/job-{number}")
            filled.post(f"/jobs/job-{number}/retry")
            filled.get(f"/nowhere/{number}")
            filled.post("/webhook", json={"action": f"INVENTED_{number}"})
            filled.request(f"VERB{number}", "/health")
        filled.get("/metrics")
        return set(_read(filled))

    few = stir(range(2))
    assert stir(range(2, 12)) == few

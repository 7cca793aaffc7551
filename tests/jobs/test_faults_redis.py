"""Redis hangs, goes away, comes back with its data or without: calls are answered all the
while, and everything goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from backend.store.fleet import Fleet
from tests.jobs.conftest import PictureServer
from tests.jobs.whole_backend import WholeBackend, answered, hold

pytestmark = pytest.mark.slow

Until = Callable[..., None]

OUTAGE_S = 5.0
"""Longer than WORKER_LOST here, so that silence alone would have every worker given up."""

WORKER_LOST_S = 2.5
DEADLINE_S = 4.0
SLACK_S = 6.0
"""What a refusal may take beyond the deadline: 3 s until silence counts, and a busy machine."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[WholeBackend]:
    """A machine with one worker; each test leaves it well."""
    folder = tmp_path_factory.mktemp("redis-faults")
    with WholeBackend(folder, until, worker_lost_s=WORKER_LOST_S) as whole:
        whole.machine(1)
        yield whole


@pytest.fixture
def whole(shared: WholeBackend, until: Until) -> WholeBackend:
    """That machine, its worker ready."""
    until(lambda: len(shared.ready()) == 1, 60)
    shared.forget()
    return shared


def refused_in_time(whole: WholeBackend, url: str, addresses: list[str]) -> None:
    """A call that nobody can keep is refused with what to do, before the caller gives up."""
    began_s = time.monotonic()
    reply = whole.ask(url, addresses).result(60)
    assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
    assert reply.status_code == 503
    assert reply.json()["error"] == "store_unavailable"
    assert reply.json()["remedy"]


def test_a_redis_that_hangs_keeps_no_caller_waiting_and_costs_no_worker(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    slow, others = pictures.add(3), pictures.add(2, first=50)
    go = hold(pictures, lambda path: path == "/0.png")
    url = whole.server(predict_deadline_without_key_s=DEADLINE_S)
    workers = whole.ready()
    began_s = time.monotonic()
    waits = whole.ask(url, slow)
    until(lambda: whole.waiting() == 1)
    whole.freeze_redis()
    frozen_s = time.monotonic()
    try:
        assert whole.health(url).startswith("DEGRADED: Redis")
        assert httpx.get(f"{url}/healthz", timeout=1.0).json() == {"status": "UP"}
        refused_in_time(whole, url, others)
        assert waits.result(60).status_code in (200, 503)
        assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
        time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - frozen_s)))
    finally:
        whole.thaw_redis()
    go.set()
    until(lambda: whole.counted("tasks_predicted") >= 3, 60)
    results = answered(whole.ask(url, slow)) + answered(whole.ask(url, others))
    assert all(entry["result"] for entry in results)
    assert len(results) == whole.counted("tasks_predicted") == 5
    until(lambda: whole.health(url) == "UP")
    assert whole.ready() == workers, "nobody was silent for all that could be known"
    assert whole.claims() == []
    assert set(pictures.asked.values()) == {1}


def test_a_redis_that_was_stopped_and_started_goes_on_with_what_it_had(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    in_hand, queued = pictures.add(3), pictures.add(2, first=50)
    go = hold(pictures, lambda path: path == "/0.png")
    url = whole.server(predict_deadline_without_key_s=90.0)
    calls = [whole.ask(url, in_hand)]
    until(lambda: len(whole.running()) == 1)
    calls.append(whole.ask(url, queued))
    until(lambda: whole.waiting() == 2)
    whole.redis.stop()
    stopped_s = time.monotonic()
    go.set()  # what the worker finishes now it can give to nobody
    until(lambda: whole.health(url).startswith("DEGRADED: Redis"))
    refused_in_time(whole, url, queued)
    time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - stopped_s)))
    assert not any(call.done() for call in calls)
    whole.start_redis()
    results = [entry for call in calls for entry in answered(call)]
    assert all(entry["result"] for entry in results), "in the calls that were waiting"
    assert len(results) == whole.counted("tasks_predicted") == 5
    until(lambda: whole.health(url) == "UP")
    assert len(whole.jobs()) == 2
    assert whole.claims() == []


def test_a_redis_that_comes_back_empty_is_filled_anew(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    before, lost = pictures.add(2), pictures.add(1, first=50)
    go = hold(pictures, lambda path: path == "/50.png")
    url = whole.server(predict_deadline_without_key_s=8.0)
    first = answered(whole.ask(url, before))
    identity = Fleet(whole.connection).identity()
    call = whole.ask(url, lost)
    until(lambda: len(whole.running()) == 1)
    whole.redis.stop()
    whole.start_redis(empty=True)
    go.set()
    assert call.result(60).status_code in (200, 503)
    until(lambda: whole.health(url) == "UP", 60)
    assert Fleet(whole.connection).identity() == identity
    again = answered(whole.ask(url, before)) + answered(whole.ask(url, lost))
    assert all(entry["result"] for entry in again)
    versions = {entry["model_version"] for entry in first + again}
    assert len(versions) == 1, "the name of what predicts has not changed"
    assert whole.claims() == []
    assert whole.queued() == whole.running() == []

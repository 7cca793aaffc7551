"""Processes that are killed or stand still: nothing lost, nothing twice, no hand needed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from backend.jobs.claims import new_job_id
from backend.jobs.process import current
from tests.jobs.conftest import PictureServer, Road
from tests.jobs.whole_backend import WholeBackend, answered, hold

pytestmark = pytest.mark.slow

Until = Callable[..., None]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[WholeBackend]:
    """A server, and a machine with two workers; each test leaves them well."""
    folder = tmp_path_factory.mktemp("process-faults")
    with WholeBackend(folder, until, worker_lost_s=3.0, batch_pictures=2) as whole:
        whole.server()
        whole.machine(2)
        yield whole


@pytest.fixture
def whole(shared: WholeBackend, until: Until) -> WholeBackend:
    """That machine, its workers ready."""
    until(lambda: len(shared.ready()) == 2, 60)
    shared.forget()
    return shared


def test_a_worker_killed_in_mid_carrier_is_replaced_within_the_same_call(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    addresses = pictures.add(12)
    go = hold(pictures, lambda path: int(path[1:-4]) >= 8)
    (url,) = whole.servers
    known = whole.predictions()
    call = whole.ask(url, addresses)
    # The first pictures are answered and stored, the last ones not to be had yet.
    until(lambda: whole.predictions() - known >= 4)
    (job_id,) = whole.running()
    pid = whole.worker_of(job_id)
    os.kill(pid, signal.SIGKILL)
    until(lambda: whole.running() == [job_id] and whole.worker_of(job_id) != pid, 60)
    go.set()
    results = answered(call)
    assert all(entry["result"] for entry in results)
    assert len(results) == whole.counted("tasks_predicted") == 12
    assert len(whole.jobs()) == 1
    assert whole.claims() == []
    asked = [pictures.asked[f"/{number}.png"] for number in range(12)]
    assert set(asked[:4]) == {1}, "what was stored is not done again"
    assert max(asked) == 2, "what was in hand is"


def test_a_killed_server_finds_its_calls_in_the_works_when_asked_again(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    many, one, late = pictures.add(10), pictures.add(1, first=50), pictures.add(2, first=60)
    go = hold(pictures, lambda path: True)
    (url,) = whole.servers
    calls = [whole.ask(url, many), whole.ask(url, one)]
    until(lambda: len(whole.running()) == 2)
    calls.append(whole.ask(url, late))
    until(lambda: len(whole.queued()) == 1)
    whole.servers[url].signal(signal.SIGKILL)
    for call in calls:
        with pytest.raises(httpx.TransportError):
            call.result(30)
    whole.servers[url].wait(10)
    whole.server(url)
    again = [whole.ask(url, many), whole.ask(url, one), whole.ask(url, late)]
    until(lambda: whole.waiting() == 3)
    go.set()
    results = [entry for call in again for entry in answered(call)]
    assert all(entry["result"] for entry in results)
    assert len(results) == whole.counted("tasks_predicted") == 13
    assert len(whole.jobs()) == 3, "the jobs of the killed server did it"
    assert whole.claims() == []
    assert set(pictures.asked.values()) == {1}


def test_what_a_server_claimed_and_died_before_queueing_is_done_by_the_next_call(
    road: Road,
) -> None:
    call = road.call(road.pictures.add(3))
    known = road.dispatcher.begin(call)
    road.connection.flushall()
    keys = [key or "" for key in known.keys]
    # It was made just now, by a machine whose clock is an hour ahead.
    dead = new_job_id("predict", 4_000_000_000.0)
    assert current().cache.claim(keys, dead, 3600) == [dead] * 3
    assert None not in road.predict(call)
    assert current().cache.owners(keys) == [None] * 3


def test_a_worker_that_takes_no_signal_is_replaced_and_its_neighbours_go_on(
    whole: WholeBackend, pictures: PictureServer, until: Until
) -> None:
    stuck, others = pictures.add(1, first=90), pictures.add(4)
    go = hold(pictures, lambda path: path == "/90.png")
    (url,) = whole.servers
    call = whole.ask(url, stuck)
    until(lambda: pictures.asked["/90.png"] == 1)
    (job_id,) = whole.running()
    pid = whole.worker_of(job_id)
    os.kill(pid, signal.SIGSTOP)
    go.set()
    assert all(entry["result"] for entry in answered(whole.ask(url, others)))
    assert all(entry["result"] for entry in answered(call, 60))
    until(lambda: len(whole.ready()) == 2 and pid not in whole.ready().values(), 60)
    until(lambda: not psutil.pid_exists(pid))
    assert whole.counted("tasks_predicted") == 5
    assert whole.claims() == []

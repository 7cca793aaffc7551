"""Label Studio out of reach while predictions are to be pushed, with a real worker process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from backend.domain import Task
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.push_requests import PushState, push_state
from backend.jobs.slots import Slot
from backend.jobs.supervisor import Supervisor
from backend.settings import Settings
from backend.store.deliveries import Deliveries
from backend.store.fleet import Fleet
from backend.store.predictions import are_finished
from tests.jobs.conftest import RECTANGLES, PictureServer
from tests.jobs.processes import environment, ticking
from tests.labelstudio_standin import LabelStudioStandin

TASKS = 12


@pytest.fixture
def keyed(settings: Callable[..., Settings], label_studio: LabelStudioStandin) -> Settings:
    return settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.api_key,
        allowed_hosts=("127.0.0.1",),
        push_batch=5,
    )


@pytest.fixture
def supervisor(keyed: Settings, connection: redis.Redis) -> Iterator[Supervisor]:
    """One worker that predicts and pushes, so that pushes come one after the other."""
    running = Supervisor(
        keyed,
        connection,
        [Slot(0, "cpu", 1)],
        environment(keyed),
        command=lambda slot, name: [sys.executable, "-m", "tests.jobs.carrier_process", name],
        stop_grace_s=5.0,
    )
    try:
        running.start()
        fleet = Fleet(connection)
        ticking(running, lambda: [one for one in fleet.alive(5) if one.state == "ready"], 120)
        yield running
    finally:
        running.stop()


@pytest.mark.slow
def test_predictions_wait_out_label_studio_and_arrive_once(
    keyed: Settings,
    supervisor: Supervisor,
    connection: redis.Redis,
    pictures: PictureServer,
    label_studio: LabelStudioStandin,
) -> None:
    ids = label_studio.add_tasks([{"image": address} for address in pictures.add(TASKS)])
    tasks = tuple(Task(number, label_studio.tasks[number]["data"]) for number in ids)
    dispatcher, waiting = Dispatcher(keyed, connection), Deliveries(connection)

    label_studio.stop()
    ticket = dispatcher.begin(PredictCall("1", RECTANGLES, tasks))
    assert dispatcher.finish(ticket) == [None] * TASKS
    states: dict[int, PushState] = {}

    def failed_twice() -> bool:
        state = push_state(connection, "1")
        states[state.failures] = state
        return state.failures >= 2

    ticking(supervisor, failed_twice, 120)
    # The work went on, and what it made is kept.
    keys_of = [key for key in ticket.keys if key is not None]
    ticking(supervisor, lambda: all(are_finished(connection, keys_of)), 120)
    assert waiting.pending_count("1") == TASKS
    # The second try came no earlier than the first pause allows; the next pause is longer.
    assert states[2].ended_s >= states[1].not_before_s
    assert states[2].not_before_s - states[2].ended_s > states[1].not_before_s - states[1].ended_s

    # It comes back, and loses its first reply after it has stored.
    label_studio.import_failures.append("dropped_after")
    label_studio.start()
    began_s = time.monotonic()
    ticking(supervisor, lambda: waiting.projects_with_pending() == [], 120)
    assert sorted(label_studio.stored()) == ids, "each of them once"
    assert set(label_studio.stored(ticket.version)) == set(ids)
    ticking(supervisor, lambda: push_state(connection, "1").failures == 0, 120)
    assert time.monotonic() - began_s < 120
    asked_later = dispatcher.begin(PredictCall("1", RECTANGLES, tasks))
    assert asked_later.own_jobs == [], "nothing is computed twice"

"""How much one address may ask for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import Request

from backend.errors import TooManyCalls
from backend.server.limits import MOST_ADDRESSES, Limit, caller
from backend.settings import load_settings
from tests.server.conftest import LABEL_CONFIG, Serve


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_full_bucket_is_emptied_and_fills_up_evenly() -> None:
    clock = Clock()
    limit = Limit("tasks", 60, "TASKS_PER_MINUTE", clock)
    limit.take("a", 50)
    limit.take("a", 10)
    with pytest.raises(TooManyCalls, match="More than 60 tasks") as caught:
        limit.take("a", 5)
    assert caught.value.retry_after_s == 5  # one a second
    clock.now_s += 4.9
    with pytest.raises(TooManyCalls):
        limit.take("a", 5)
    clock.now_s += 0.1
    limit.take("a", 5)  # the refused calls cost nothing
    limit.take("b", 60)  # another address has its own


def test_one_call_may_be_larger_than_the_bucket_and_is_paid_off() -> None:
    clock = Clock()
    limit = Limit("tasks", 60, "TASKS_PER_MINUTE", clock)
    limit.take("a", 120)
    with pytest.raises(TooManyCalls) as caught:
        limit.take("a", 1)
    assert caught.value.retry_after_s == 61  # 60 beyond empty, and one
    clock.now_s += caught.value.retry_after_s
    limit.take("a", 1)


def test_nothing_is_bound_by_zero_and_nothing_costs_nothing() -> None:
    unbound = Limit("tasks", 0, "TASKS_PER_MINUTE", Clock())
    for _ in range(5):
        unbound.take("a", 10**9)
    assert len(unbound) == 0


def test_memory_is_bounded() -> None:
    limit = Limit("tasks", 60, "TASKS_PER_MINUTE", Clock())
    for number in range(MOST_ADDRESSES + 10):
        limit.take(str(number), 1)
    assert len(limit) == MOST_ADDRESSES


def test_fifty_annotators_never_meet_the_bound() -> None:
    """A click of a smart tool a second each, and two managers who retrieve predictions."""
    clock = Clock()
    limit = Limit("tasks", load_settings().tasks_per_minute, "TASKS_PER_MINUTE", clock)
    for second in range(600):
        for _ in range(50):
            limit.take("label-studio", 1)
        if second % 10 == 0:
            limit.take("label-studio", 2 * 250)
        clock.now_s += 1.0


@pytest.mark.parametrize(
    ("client", "counted_for"),
    [
        (("10.1.2.3", 5000), "10.1.2.3"),
        (("2001:db8:1:2:3:4:5:6", 5000), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::9", 5000), "2001:db8:1:2::/64"),
        (("::ffff:10.1.2.3", 5000), "10.1.2.3"),
        (("testclient", 5000), "testclient"),
        (None, ""),
    ],
)
def test_whom_a_request_is_counted_for(client: Any, counted_for: str) -> None:
    assert caller(Request({"type": "http", "client": client})) == counted_for


def predict(client: httpx.Client, tasks: int) -> httpx.Response:
    body = {"tasks": [{"data": {}}] * tasks, "label_config": LABEL_CONFIG}
    return client.post("/predict", json=body)


def test_the_answer_says_when_to_come_back(serve: Serve) -> None:
    client = serve(tasks_per_minute=3, explain_per_minute=1)
    assert predict(client, 3).status_code == 200
    refused = predict(client, 2)
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_calls")
    assert 20 < int(refused.headers["Retry-After"]) <= 40  # three a minute
    assert "TASKS_PER_MINUTE" in refused.json()["remedy"]
    start = {"action": "START_TRAINING", "project": {"id": 1}}
    assert client.post("/webhook", json=start).status_code == 429
    assert client.post("/setup", json={"project": "1"}).status_code == 429
    # What an annotator's save sends, and what asks nothing of a worker, is never refused.
    saved = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
    assert client.post("/webhook", json=saved).status_code == 200
    assert client.get("/health").status_code == 200
    assert predict(client, 0).status_code == 200
    explain = "/explain?project=1&task=1"
    assert client.get(explain).status_code != 429
    assert client.get(explain).headers["Retry-After"] == "60"

"""/predict on a real Redis; no worker lives, so what is not cached stays open."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr

from backend.domain import Failed, Predicted
from backend.jobs.payload import Carrier
from backend.jobs.queues import queue
from backend.store.deliveries import Deliveries
from backend.store.predictions import PredictionCache
from tests.server.conftest import LABEL_CONFIG, Serve

KEY = SecretStr("0123456789abcdef0123456789abcdef01234567")


def _tasks(count: int) -> list[dict[str, Any]]:
    return [{"id": i + 1, "data": {"image": f"/data/upload/1/{i}.png"}} for i in range(count)]


def _call(tasks: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"tasks": tasks, "project": "1.1795224262", "label_config": LABEL_CONFIG} | changes


def _queued(connection: redis.Redis, name: str) -> list[Carrier]:
    return [Carrier.from_json(job.args[0]) for job in queue(connection, name).get_jobs()]


def _finish(connection: redis.Redis, client: httpx.Client, tasks: list[dict[str, Any]]) -> None:
    """Put into the cache what a worker would: for task n a prediction of score n / 1000."""
    client.post("/predict", json=_call(tasks))
    name = "interactive" if len(tasks) == 1 else "predict"
    cache = PredictionCache(connection, max_items=1000, ttl_s=60, failure_ttl_s=60)
    cache.put_many(
        {
            task.key: Predicted(
                {"result": [], "score": int(task.data["image"][15:-4]) / 1000, "model_version": "v"}
            )
            for carrier in _queued(connection, name)
            for task in carrier.tasks
        }
    )


def test_no_tasks(client: httpx.Client) -> None:
    reply = client.post("/predict", json=_call([]))
    assert reply.status_code == 200
    assert reply.json() == {"results": []}
    assert "X-Job-Ids" not in reply.headers


@pytest.mark.parametrize(("count", "name"), [(1, "interactive"), (2, "predict"), (40, "predict")])
def test_what_is_late_is_empty_and_stays_queued(
    client: httpx.Client, connection: redis.Redis, count: int, name: str
) -> None:
    started_s = time.monotonic()
    reply = client.post("/predict", json=_call(_tasks(count)))
    took_s = time.monotonic() - started_s
    assert 0.4 < took_s < 20  # the deadline is 0.5 s, without the setting 90 s
    assert reply.json() == {"results": [[]] * count}
    carriers = _queued(connection, name)
    assert sum(len(carrier.tasks) for carrier in carriers) == count
    assert {carrier.project_id for carrier in carriers} == {"1"}
    job_ids = reply.headers["X-Job-Ids"].split(",")
    assert len(job_ids) == len(carriers)
    assert client.get(f"/jobs/{job_ids[0]}").json()["state"] == "queued"


def test_cached_predictions_come_at_once_in_the_order_of_the_call(
    client: httpx.Client, serve: Serve, connection: redis.Redis
) -> None:
    tasks = _tasks(5)
    _finish(connection, client, tasks)
    patient = serve(predict_deadline_without_key_s=60)
    wanted = [tasks[3], tasks[0], tasks[3], tasks[4]]
    started_s = time.monotonic()
    reply = patient.post("/predict", json=_call(wanted))
    assert time.monotonic() - started_s < 30  # sooner than the deadline
    assert [entry["score"] for entry in reply.json()["results"]] == [0.003, 0.0, 0.003, 0.004]
    assert "X-Job-Ids" not in reply.headers


def test_what_cannot_be_done_leaves_its_neighbours_alone(
    client: httpx.Client, connection: redis.Redis
) -> None:
    tasks = _tasks(3)
    _finish(connection, client, tasks)
    (carrier,) = _queued(connection, "predict")
    cache = PredictionCache(connection, max_items=1000, ttl_s=60, failure_ttl_s=60)
    cache.put_many({carrier.tasks[1].key: Failed("media_missing", "404")})
    without_image = {"id": 9, "data": {"text": "no picture"}}
    results = client.post("/predict", json=_call([*tasks, without_image])).json()["results"]
    assert [entry if entry == [] else entry["score"] for entry in results] == [0.0, [], 0.002, []]


def test_cached_bytes_go_out_as_they_are(client: httpx.Client, connection: redis.Redis) -> None:
    tasks = _tasks(1)
    client.post("/predict", json=_call(tasks))
    (carrier,) = _queued(connection, "interactive")
    prediction = {"result": [{"value": "é \U0001f98a"}], "score": 0.1, "model_version": "v"}
    cache = PredictionCache(connection, max_items=10, ttl_s=60, failure_ttl_s=60)
    cache.put_many({carrier.tasks[0].key: Predicted(prediction)})
    (raw,) = cache.get_many([carrier.tasks[0].key])
    reply = client.post("/predict", json=_call(tasks))
    assert reply.content == b'{"results":[' + bytes(raw) + b"]}"  # type: ignore[arg-type]
    assert reply.json() == {"results": [prediction]}


def test_the_configuration_of_setup_is_used_where_none_is_sent(
    client: httpx.Client, connection: redis.Redis
) -> None:
    call = _call(_tasks(1), label_config=None)
    refused = client.post("/predict", json=call)
    assert refused.status_code == 422
    assert refused.json()["error"] == "label_config_invalid"
    client.post("/setup", json={"project": "1.1795224262", "schema": LABEL_CONFIG})
    assert client.post("/predict", json=call).json() == {"results": [[]]}
    assert len(_queued(connection, "interactive")) == 1


@pytest.mark.parametrize("config", ["<View", "<View/>", "\x00", "word"])
def test_a_configuration_that_cannot_be_served(client: httpx.Client, config: str) -> None:
    reply = client.post("/predict", json=_call(_tasks(1), label_config=config))
    assert reply.status_code == 422
    told = reply.json()
    assert told["error"] == "label_config_invalid"
    assert told["what"]
    assert told["remedy"]


@pytest.mark.parametrize(("count", "status"), [(3, 200), (4, 413)], ids=["the-most", "one-more"])
def test_most_tasks(serve: Serve, count: int, status: int) -> None:
    client = serve(request_tasks=3, predict_deadline_without_key_s=0.1)
    reply = client.post("/predict", json=_call(_tasks(count)))
    assert reply.status_code == status
    if status == 413:
        assert "MAX_REQUEST_TASKS" in reply.json()["remedy"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook"])
@pytest.mark.parametrize(
    ("size", "status"), [(1000, 422), (1001, 413), (5000, 413), (500_000, 413)]
)
def test_most_bytes(serve: Serve, path: str, size: int, status: int, chunked: bool) -> None:
    client = serve(request_bytes=1000)
    body = b"x" * size  # no JSON: within the limit it is refused for that
    pieces = (body[i : i + 100] for i in range(0, size, 100))
    try:
        reply = client.post(path, content=pieces if chunked else body)
    except (httpx.WriteError, httpx.ReadError):
        assert size > 2000  # far beyond the limit the connection is broken off
        return
    assert reply.status_code == status
    if status == 413:
        assert "MAX_REQUEST_BYTES" in reply.json()["remedy"]


def test_with_a_key_the_other_deadline_holds_and_the_late_are_noted(
    serve: Serve, connection: redis.Redis
) -> None:
    client = serve(
        label_studio_api_key=KEY, predict_deadline_s=0.3, predict_deadline_without_key_s=60
    )
    started_s = time.monotonic()
    assert client.post("/predict", json=_call(_tasks(3))).json() == {"results": [[]] * 3}
    assert time.monotonic() - started_s < 30
    assert Deliveries(connection).pending_count("1") == 3


def test_without_a_project_nothing_is_to_be_pushed(serve: Serve, connection: redis.Redis) -> None:
    client = serve(
        label_studio_api_key=KEY, predict_deadline_s=60, predict_deadline_without_key_s=0.3
    )
    started_s = time.monotonic()
    client.post("/predict", json=_call(_tasks(3), project=None))
    assert time.monotonic() - started_s < 30
    assert Deliveries(connection).projects_with_pending() == []


@pytest.mark.slow
def test_a_caller_who_goes_away_cancels_nothing(
    serve: Serve, connection: redis.Redis, until: Callable[..., None]
) -> None:
    tasks = _tasks(3)
    _finish(connection, serve(predict_deadline_without_key_s=0.1), tasks[:2])
    client = serve(label_studio_api_key=KEY, predict_deadline_s=1.0)
    body = json.dumps(_call(tasks)).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as caller:
        caller.sendall(head.encode() + body)
        until(lambda: len(_queued(connection, "predict")) == 2)
    # The third goes on; the two that were known reach nobody this way, so all are pushed.
    until(lambda: Deliveries(connection).pending_count("1") == 3)
    assert [[task.id for task in c.tasks] for c in _queued(connection, "predict")] == [[1, 2], [3]]


@pytest.mark.slow
def test_fifty_calls_at_once(serve: Serve, connection: redis.Redis) -> None:
    client = serve(predict_deadline_without_key_s=2)
    tasks = _tasks(8)
    _finish(connection, client, tasks)

    def ask(number: int) -> list[float]:
        order = tasks[number % 8 :] + tasks[: number % 8]
        reply = httpx.post(f"{client.base_url}/predict", json=_call(order), timeout=20)
        return [entry["score"] for entry in reply.json()["results"]]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    for number, scores in enumerate(answers):
        assert scores == [((number + i) % 8) / 1000 for i in range(8)]


@pytest.mark.slow
def test_fifty_waiting_calls_do_not_block_the_others(
    serve: Serve, connection: redis.Redis, until: Callable[..., None]
) -> None:
    client = serve(predict_deadline_without_key_s=8)

    def ask(number: int) -> httpx.Response:
        task = {"id": number, "data": {"image": f"/data/upload/2/{number}.png"}}
        return httpx.post(f"{client.base_url}/predict", json=_call([task]), timeout=60)

    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(ask, number) for number in range(50)]
        until(lambda: len(queue(connection, "interactive")) == 50)
        assert client.get("/health").status_code == 200
        assert not any(call.done() for call in calls), "it was answered while they wait"
        assert all(call.result().json() == {"results": [[]]} for call in calls)


POINTED = (
    '<View><Image name="image" value="$image"/>'
    '<KeyPointLabels name="kp" toName="image" smart="true">'
    '<Label value="Raccoon"/></KeyPointLabels>'
    '<RectangleLabels name="label" toName="image"><Label value="Raccoon"/></RectangleLabels></View>'
)
CLICK = {
    "original_width": 640,
    "original_height": 480,
    "image_rotation": 0,
    "value": {"x": 50, "y": 50, "width": 0.3, "keypointlabels": ["Raccoon"]},
    "is_positive": True,
    "id": "a",
    "from_name": "kp",
    "to_name": "image",
    "type": "keypointlabels",
}


def _pointed(context: Any, tasks: int = 1) -> dict[str, Any]:
    params = {"login": None, "password": None, "context": context}
    return _call(_tasks(tasks), label_config=POINTED, params=params)


def test_a_context_asks_for_one_object(client: httpx.Client, connection: redis.Redis) -> None:
    assert client.post("/predict", json=_pointed({"result": [CLICK]})).json() == {"results": [[]]}
    (carrier,) = _queued(connection, "interactive")
    (task,) = carrier.tasks
    assert task.interaction is not None
    assert task.interaction["label"] == "Raccoon"
    assert task.interaction["marks"] == [[320.0, 240.0, 320.0, 240.0, True]]


def test_what_the_draft_holds_goes_along(client: httpx.Client, connection: redis.Redis) -> None:
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["Raccoon"]}
    drawn = {**CLICK, "id": "d", "from_name": "label", "type": "rectanglelabels", "value": value}
    body = _pointed({"result": [CLICK]})
    body["tasks"][0]["drafts"] = [{"result": [drawn], "updated_at": "2026-01-01"}]
    client.post("/predict", json=body)
    (carrier,) = _queued(connection, "interactive")
    (task,) = carrier.tasks
    assert task.interaction is not None
    assert task.interaction["earlier"] == [[64.0, 48.0, 192.0, 144.0]]


@pytest.mark.parametrize("context", [None, {}], ids=str)
def test_without_a_context_the_task_is_predicted(
    client: httpx.Client, connection: redis.Redis, context: Any
) -> None:
    client.post("/predict", json=_pointed(context))
    (carrier,) = _queued(connection, "interactive")
    assert carrier.tasks[0].interaction is None


def test_an_empty_context_finds_nothing_at_once(client: httpx.Client) -> None:
    (entry,) = client.post("/predict", json=_pointed({"result": []})).json()["results"]
    assert entry["result"] == []
    assert (
        entry["model_version"]
        == client.post("/setup", json={"project": "1", "schema": POINTED}).json()["model_version"]
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (_pointed("text"), "params.context must hold"),
        (_pointed({"result": CLICK}), "params.context must hold"),
        (_pointed({"result": [CLICK]}, tasks=2), "goes with one task, the call has 2"),
    ],
    ids=["text", "one region", "two tasks"],
)
def test_a_context_that_cannot_be_read(
    client: httpx.Client, body: dict[str, Any], what: str
) -> None:
    reply = client.post("/predict", json=body)
    assert reply.status_code == 422
    assert what in reply.json()["what"]
    assert reply.json()["remedy"]


@pytest.mark.parametrize("params", ["text", [1], 5, {"other": 1}], ids=str)
def test_other_params_are_ignored(
    client: httpx.Client, connection: redis.Redis, params: Any
) -> None:
    assert client.post("/predict", json=_call(_tasks(1), params=params)).status_code == 200
    assert _queued(connection, "interactive")[0].tasks[0].interaction is None

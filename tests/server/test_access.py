"""The id of a request: taken if sane, told, and handed to the jobs it causes."""

from __future__ import annotations

import re

import httpx
import pytest
import redis
from rq.serializers import JSONSerializer

from backend.jobs.queues import REQUEST_ID, SafeJob, queue
from tests.server.conftest import LABEL_CONFIG


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
def test_a_sane_id_is_kept(client: httpx.Client, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "<script>", "a;b"])
def test_another_one_is_made(client: httpx.Client, given: str) -> None:
    reply = client.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Request-ID"])


@pytest.mark.parametrize(
    ("path", "body", "queue_name"),
    [
        (
            "/predict",
            {"tasks": [{"id": 1, "data": {"image": "http://pictures.example/1.png"}}],
             "project": "1", "label_config": LABEL_CONFIG},
            "interactive",
        ),
        ("/webhook", {"action": "START_TRAINING", "project": {"id": 1}}, "train"),
    ],
    ids=["predict", "webhook"],
)  # fmt: skip
def test_it_goes_with_the_jobs(
    client: httpx.Client,
    connection: redis.Redis,
    path: str,
    body: dict[str, object],
    queue_name: str,
) -> None:
    reply = client.post(path, json=body, headers={"X-Request-ID": "mine-1"})
    assert reply.status_code == 200
    (job_id,) = queue(connection, queue_name).job_ids
    job = SafeJob.fetch(job_id, connection=connection, serializer=JSONSerializer)
    assert job.meta[REQUEST_ID] == "mine-1"

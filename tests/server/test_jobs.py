"""GET and DELETE /jobs/{id}."""

from __future__ import annotations

import httpx
import pytest

from tests.server.conftest import LABEL_CONFIG


@pytest.mark.parametrize(
    ("job_id", "status"),
    [
        ("x", 404),
        ("predict-1-1", 404),
        ("x" * 128, 404),
        ("x" * 129, 422),
        ("a%00b", 422),
        ("%F0%9F%A6%8A", 422),
        ("%ff", 422),
        ("*", 422),
        ("x%0A", 422),
        ("a/b", 404),
    ],
    ids=["short", "usual", "longest", "longer", "nul", "fox", "not-utf8", "star", "line", "path"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_such_job(client: httpx.Client, method: str, job_id: str, status: int) -> None:
    reply = client.request(method, f"/jobs/{job_id}")
    assert reply.status_code == status
    assert set(reply.json()) == {"error", "what", "remedy", "request_id"}


def test_a_waiting_job_is_shown_and_called_off(client: httpx.Client) -> None:
    task = {"id": 1, "data": {"image": "/data/upload/1/a.png"}}
    call = {"tasks": [task], "project": "1", "label_config": LABEL_CONFIG}
    job_id = client.post("/predict", json=call).headers["X-Job-Ids"]
    shown = client.get(f"/jobs/{job_id}").json()
    assert (shown["id"], shown["state"]) == (job_id, "queued")
    assert client.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"
    assert client.get(f"/jobs/{job_id}").json()["state"] == "cancelled"
    assert client.delete(f"/jobs/{job_id}").status_code == 200
    assert client.get("/health").json()["queues"]["interactive"] == 0

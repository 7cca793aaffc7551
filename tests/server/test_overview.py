"""The words for the state of the backend."""

from __future__ import annotations

import pytest

from backend.errors import StoreUnavailable
from backend.server.overview import Overview
from backend.store.fleet import WorkerInfo


def _failed(name: str, reason: str) -> WorkerInfo:
    return WorkerInfo(name, "here", 1, "cpu", "", "failed", reason)


@pytest.mark.parametrize(
    ("overview", "words"),
    [
        (Overview(), "no worker is alive"),
        (Overview(refusal=StoreUnavailable("Gone.", "Start it.")), "DEGRADED: Gone. Start it."),
        (Overview((_failed("a", ""),)), "1 of 1 workers failed: see its log"),
        (Overview((_failed("a", "x"), _failed("b", "x"))), "2 of 2 workers failed: x"),
        (
            Overview(tuple(_failed(n, n) for n in "abcd")),
            "4 of 4 workers failed: a; b; c",
        ),
    ],
    ids=["nobody", "redis", "no-reason", "same-reason-once", "three-reasons"],
)
def test_status(overview: Overview, words: str) -> None:
    status = overview.status()
    assert status.startswith("DEGRADED: ")
    assert words in status

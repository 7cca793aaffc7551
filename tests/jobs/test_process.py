"""What a worker process holds, and what of it the fleet is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import redis

from backend.jobs import process
from backend.settings import Settings
from backend.store.fleet import Fleet
from tests.jobs.conftest import Road
from tests.jobs.processes import ROOT, environment


def test_the_runtime_is_that_of_the_held_model(road: Road) -> None:
    assert process.runtime_form() == road.backbone.runtime.form == "torch float32 channels_last"
    process.release()
    assert process.runtime_form() == ""


@pytest.mark.slow
def test_a_ready_worker_tells_its_runtime(
    connection: redis.Redis, settings: Callable[..., Settings], until: Callable[..., None]
) -> None:
    command = [sys.executable, "-m", "tests.jobs.carrier_process", "w1"]
    with subprocess.Popen(command, env=environment(settings()), cwd=ROOT) as worker:
        try:
            until(lambda: [one.state for one in Fleet(connection).alive(60)] == ["ready"])
            told = Fleet(connection).alive(60)[0].runtime
        finally:
            worker.kill()
    assert told == "torch float32 channels_last"

"""backend.model under label_studio_ml's own application, in a process of its own.

Importing label-studio-ml changes how multiprocessing starts and brings an old Flask, so
none of it may enter the process of the other tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.jobs.conftest import RECTANGLES, Road
from tests.jobs.conftest import backbone as backbone
from tests.jobs.conftest import make_road as make_road
from tests.jobs.conftest import pictures as pictures
from tests.jobs.conftest import road as road

CALLS = """
import json, sys
from label_studio_ml.api import init_app
from backend.model import SaliencyBackend

config, tasks, model_dir = json.loads(sys.stdin.read())
app = init_app(SaliencyBackend, model_dir=model_dir)
client = app.test_client()
health = client.get("/health")
setup = client.post("/setup", json={"project": "1.17", "schema": config, "hostname": "http://h"})
answer = client.post(
    "/predict", json={"tasks": tasks, "project": "1.17", "label_config": config, "params": {}}
)
trained = SaliencyBackend(label_config=config).fit(())
print(json.dumps([health.status_code, setup.get_json(), answer.get_json(), trained]))
"""


@pytest.mark.slow
def test_it_answers_as_predict_does(road: Road, tmp_path: Any) -> None:
    addresses = [*road.pictures.add(2), "not an address at all"]
    call = road.call([*addresses])
    expected = [None if r is None else json.loads(r) for r in road.predict(call)]
    assert [e is None for e in expected] == [False, False, True]
    tasks = [{"id": task.id, "data": dict(task.data), "project": 1} for task in call.tasks]

    environment = os.environ | {
        "REDIS_URL": road.settings.redis_url,
        "BACKBONE": road.settings.backbone,
    }
    environment.pop("LABEL_STUDIO_API_KEY", None)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CALLS],
        input=json.dumps([RECTANGLES, tasks, str(tmp_path / "models")]),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    health, setup, answer, trained = json.loads(ended.stdout.splitlines()[-1])
    version = road.dispatcher.model_version("1", RECTANGLES)
    assert health == 200
    assert setup == {"model_version": version}
    assert answer["results"] == [[] if e is None else e for e in expected]
    assert answer["results"][0]["model_version"] == version
    assert trained == {"model_version": version}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["backend.server", "backend.jobs.worker", "backend.jobs.carrier"]
)
def test_flask_stays_out_of_server_and_workers(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print([n for n in ('flask', 'label_studio_ml', 'werkzeug') if n in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["backend.jobs.enqueue", "backend.jobs.push"])
def test_torch_stays_out_of_the_server_s_side_of_jobs(module: str) -> None:
    code = f"import sys, {module}\nprint([n for n in ('torch', 'cv2') if n in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.strip() == "[]"

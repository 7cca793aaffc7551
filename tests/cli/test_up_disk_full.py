"""`up` on a disk that fills up: predictions go on, the page says so, nothing is lost after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.children import bare_environment
from backend.evaluation.drawn import write_pictures
from backend.evaluation.loopback_server import LoopbackServer, QuietHandler
from backend.jobs.recovery import misplaced_jobs
from backend.store import keys
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis
from tests.tiny_disk import fill, tiny_disk

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="label" toName="image"><Label value="Figure"/></RectangleLabels></View>'
)


def handler_of(pictures: list[Path]) -> type[QuietHandler]:
    contents = {f"/{number}": path.read_bytes() for number, path in enumerate(pictures)}

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.reply(contents[self.path], "image/jpeg")

    return Handler


@pytest.mark.slow
def test_predictions_go_on_and_are_kept_once_there_is_room(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 4)
    with (
        tiny_disk(tmp_path / "disk", 64) as disk,
        LoopbackServer(handler_of(pictures)) as served,
    ):
        env = bare_environment(
            BACKBONE="embedded",
            DEVICE="cpu",
            ALLOWED_HOSTS=served.host,
            WORKERS="1",
            TRAIN_WORKERS="0",
        )

        def predicted(backend: BackendProcess, *numbers: int) -> list[Any]:
            tasks = [{"id": n, "data": {"image": f"{served.url}/{n}"}} for n in numbers]
            body = {"tasks": tasks, "project": "1", "label_config": CONFIG}
            reply = httpx.post(f"{backend.url}/predict", json=body, timeout=100, trust_env=False)
            assert reply.status_code == 200, reply.text
            return list(reply.json()["results"])

        with BackendProcess(disk, env=env) as backend:
            assert all(predicted(backend, 0))
            assert backend.health()["status"] == "UP"
            fill(disk)
            until(lambda: "disk" in backend.health()["status"], timeout_s=60)
            assert "Make room" in backend.health()["status"]
            # The log lies on that disk too.
            assert all(predicted(backend, 1, 2))
            (disk / "ballast").unlink()
            until(lambda: backend.health()["status"] == "UP", timeout_s=60)
            log = (disk / "backend.log").read_text("utf-8", "replace")
            assert "redis_on_disk_again" in log
        with EmbeddedRedis(disk) as url, connect(url) as client:
            kept = list(client.scan_iter(keys.prediction("*")))
            assert len(kept) == 3, "what was made while the disk was full is there as well"
            assert misplaced_jobs(client) == {}

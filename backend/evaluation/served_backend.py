"""The whole backend on this machine for a measurement: Redis, a server, a worker a slot."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx

from backend.errors import ChildFailed
from backend.evaluation.backend_process import READY_S
from backend.evaluation.children import Child, bare_environment
from backend.evaluation.labelstudio_server import REPOSITORY
from backend.jobs.slots import Slot, slot_environment
from backend.settings import Settings, as_environment
from backend.store.connection import connect
from backend.store.counters import Counters
from backend.store.embedded import EmbeddedRedis

REPLY_S = 100.0
"""As long as Label Studio waits for predictions."""

LABEL = "Thing"
"""A label that names no class, so that whatever is there gets a box."""


def label_config(method: str, pointer: str = "") -> str:
    """Boxes of one label, found by a saliency method. pointer: name of a smart tool, if any."""
    smart = f'<KeyPointLabels name="{pointer}" toName="image" smart="true">'
    tool = f'{smart}<Label value="{LABEL}"/></KeyPointLabels>' if pointer else ""
    return (
        f'<View><Image name="image" value="$image"/>{tool}'
        f'<RectangleLabels name="label" toName="image" model_saliency="{method}">'
        f'<Label value="{LABEL}"/></RectangleLabels></View>'
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """One call of /predict. seconds: by the caller's clock. results: an entry a task.

    job_ids: of the jobs that worked on it.
    """

    seconds: float
    results: list[Any]
    job_ids: tuple[str, ...]


class ServedBackend:
    """A context manager. slots: of the workers, with the threads of each.

    settings: with a port and a folder of its own; no API key, so nothing is pushed.
    """

    def __init__(self, settings: Settings, slots: Sequence[Slot]) -> None:
        self._settings = settings
        self._slots = slots
        self._stack = ExitStack()
        self.url = f"http://127.0.0.1:{settings.port}"

    def __enter__(self) -> ServedBackend:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def predict(self, tasks: Sequence[dict[str, Any]], config: str) -> Answered:
        """Have tasks predicted by one call. Raises: ChildFailed where one has no prediction."""
        body = {"tasks": list(tasks), "project": "1", "label_config": config}
        begun_s = time.perf_counter()
        reply = self._http.post("/predict", json=body)
        seconds = time.perf_counter() - begun_s
        if reply.status_code != 200:
            raise ChildFailed(
                f"The backend answered {reply.status_code}: {reply.text[:500]}\n{self._logged()}",
                "What it logged stands above.",
            )
        results = reply.json()["results"]
        if missing := sum(not entry for entry in results):
            raise ChildFailed(
                f"{missing} of {len(results)} tasks had no prediction after {seconds:.0f} s.\n"
                f"{self._logged()}",
                "Where the time was too short, ask for fewer tasks.",
            )
        job_ids = tuple(filter(None, reply.headers.get("X-Job-Ids", "").split(",")))
        return Answered(seconds, results, job_ids)

    def computed_s(self) -> float:
        """Seconds that workers spent on pictures so far: fetching, forward passes, boxes."""
        counted = self._counters.read()
        return sum(ms for (name, _), ms in counted.items() if name == "stage_ms") / 1000

    def busy_s(self, job_ids: Sequence[str]) -> float:
        """Seconds from the start of the first of these jobs to the end of the last one."""
        found = [
            self._redis.hmget(f"rq:job:{job_id}", "started_at", "ended_at") for job_id in job_ids
        ]
        moments: Any = [datetime.fromisoformat(m.decode()[:26]) for pair in found for m in pair]
        return float((max(moments) - min(moments)).total_seconds())

    def _start(self) -> None:
        folder = self._settings.data_dir
        url = self._stack.enter_context(EmbeddedRedis(folder))
        settings = self._settings.model_copy(update={"redis_url": url})
        self._redis = self._stack.enter_context(connect(url))
        self._counters = Counters(self._redis)
        environment = bare_environment(PYTHONPATH=str(REPOSITORY), **as_environment(settings))
        workers = [
            Child(
                f"Worker {slot.number}",
                [
                    *(sys.executable, "-m", "backend", "worker-slot"),
                    *("--device", slot.device, "--name", f"measured-{slot.number}"),
                ],
                env={**environment, **slot_environment(slot)},
                log_path=folder / f"worker-{slot.number}.log",
            )
            for slot in self._slots
        ]
        server = Child(
            "The server",
            [sys.executable, "-m", "backend", "serve"],
            env=environment,
            log_path=folder / "server.log",
        )
        self._children = [*workers, server]
        for child in self._children:
            self._stack.enter_context(child)

        def ready(reply: httpx.Response) -> bool:
            for worker in workers:
                if worker.returncode is not None:
                    raise ChildFailed(f"{worker.name} cannot work:\n{worker.tail()}\n", "")
            return bool(reply.json()["workers"]["states"]["ready"] == len(workers))

        server.wait_for_http(f"{self.url}/health", READY_S, accept=ready)
        self._http = self._stack.enter_context(
            httpx.Client(base_url=self.url, timeout=REPLY_S, trust_env=False)
        )

    def _logged(self) -> str:
        return "\n".join(f"{child.name}: {child.tail(3)}" for child in self._children) + "\n"

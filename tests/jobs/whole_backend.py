"""Redis, servers and machines with workers, each a process of its own, to do harm to."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import redis

from backend.evaluation.children import Child, free_port
from backend.settings import Settings, as_environment, load_settings
from backend.store import keys
from backend.store.connection import connect
from backend.store.counters import Counters
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet
from tests.jobs.conftest import RECTANGLES, PictureServer
from tests.jobs.processes import ROOT, environment

Until = Callable[..., None]

REPLY_S = 100.0
START_S = 90.0


class WholeBackend:
    """A context manager; what it started is gone afterwards.

    folder: of Redis's data and of all logs. settings: by field name. Nothing is read through
    ``connection`` while Redis is away.
    """

    def __init__(self, folder: Path, until: Until, **settings: Any) -> None:
        self._folder = folder
        self._until = until
        self._overrides = settings
        self._stack = ExitStack()
        self._machines = 0
        self.servers: dict[str, Child] = {}
        self.redis = EmbeddedRedis(folder)

    def __enter__(self) -> WholeBackend:
        url = self.redis.start()
        self._stack.callback(self._end_redis)
        usual = {
            "redis_url": url,
            "data_dir": self._folder,
            "backbone": "mobilenet_v2",
            "allowed_hosts": ("127.0.0.1",),
            "fetch_threads": 2,
            "media_timeout_s": 60.0,
            "media_retries": 0,
            "heartbeat_s": 0.2,
        }
        self.settings: Settings = load_settings(**(usual | self._overrides))
        self.connection: redis.Redis = self._stack.enter_context(connect(url))
        self._pool = ThreadPoolExecutor(32)
        self._stack.callback(self._pool.shutdown)
        self._http = self._stack.enter_context(httpx.Client(timeout=REPLY_S, trust_env=False))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # ---- processes

    def server(self, url: str | None = None, **settings: Any) -> str:
        """Start a server and wait until it answers; its address.

        url: one that was before. settings: by field name, for it alone.
        """
        url = url or f"http://127.0.0.1:{free_port()}"
        port = int(url.rpartition(":")[2])
        own = self.settings.model_copy(update={"port": port, "host": "127.0.0.1", **settings})
        child = self._child(f"server-{port}", ["-m", "backend", "serve"], own)
        child.wait_for_http(f"{url}/healthz", START_S)
        self.servers[url] = child
        return url

    def machine(
        self, predict: int, train: int = 0, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a machine with workers and wait until these are ready."""
        before = len(self.ready())
        self._machines += 1
        child = self._child(
            f"machine-{self._machines}",
            ["-m", "tests.jobs.machine_process", str(predict), str(train)],
            self.settings,
            environment,
        )
        self._until(lambda: len(self.ready()) == before + predict + train, START_S)
        return child

    def _child(
        self,
        name: str,
        arguments: Sequence[str],
        settings: Settings,
        more: Mapping[str, str] | None = None,
    ) -> Child:
        env = {**environment(settings), **as_environment(settings), **(more or {})}
        log_path = self._folder / f"{name}.log"
        child = Child(name, [sys.executable, *arguments], env=env, log_path=log_path, cwd=ROOT)
        return self._stack.enter_context(child)

    # ---- Redis

    def freeze_redis(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        os.kill(self.redis.pid or 0, signal.SIGSTOP)

    def thaw_redis(self) -> None:
        """Let it go on."""
        os.kill(self.redis.pid or 0, signal.SIGCONT)

    def start_redis(self, *, empty: bool = False) -> None:
        """Start it again after ``redis.stop()``, where it was. empty: without its data."""
        if empty:
            for path in (self._folder / "redis").glob("appendonly*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert self.redis.start() == self.settings.redis_url

    def _end_redis(self) -> None:
        if self.redis.pid is not None:
            with suppress(ProcessLookupError):
                self.thaw_redis()
        self.redis.stop()

    # ---- what users do

    def ask(self, url: str, addresses: Sequence[str], **body: Any) -> Future[httpx.Response]:
        """Call /predict of a server in a thread, with a task for each address."""
        tasks = [{"id": number, "data": {"image": one}} for number, one in enumerate(addresses, 1)]
        usual = {"tasks": tasks, "project": "1", "label_config": RECTANGLES}
        return self._pool.submit(self._http.post, f"{url}/predict", json=usual | body)

    def health(self, url: str) -> str:
        """What a server says of itself, within the second that Label Studio gives it."""
        reply = httpx.get(f"{url}/health", timeout=1.0, trust_env=False)
        return str(reply.raise_for_status().json()["status"])

    def forget(self) -> None:
        """Begin a test anew: nothing was counted, no job has ever been."""
        self.connection.delete(keys.counters())
        for job_id in self.jobs():
            self.connection.delete(f"rq:job:{job_id}")

    # ---- what is the case

    def ready(self) -> dict[str, int]:
        """Process ids of the workers that are ready, by name."""
        alive = Fleet(self.connection).alive(self.settings.worker_lost_s)
        return {info.name: info.pid for info in alive if info.state == "ready"}

    def worker_of(self, job_id: str) -> int:
        """Process id of the worker that is at this job."""
        name: Any = self.connection.hget(f"rq:job:{job_id}", "worker_name")
        return self.ready().get((name or b"").decode(), 0)

    def running(self) -> list[str]:
        """Ids of jobs that have been begun."""
        return self._jobs(b"started")

    def queued(self) -> list[str]:
        """Ids of jobs that wait."""
        return self._jobs(b"queued")

    def jobs(self) -> list[str]:
        """Ids of all jobs, those that have ended too."""
        return self._jobs(None)

    def counted(self, name: str) -> int:
        """A counter, its labels summed up."""
        counts = Counters(self.connection).read()
        return sum(amount for (other, _), amount in counts.items() if other == name)

    def waiting(self) -> int:
        """Calls of /predict that wait for a job."""
        found: Any = self.connection.client_list()
        return sum(client["cmd"] == "xread" and "b" in client["flags"] for client in found)

    def predictions(self) -> int:
        """Tasks in the prediction cache, whether they could be done or not."""
        return len(list(self.connection.scan_iter(match=keys.prediction("*"))))

    def claims(self) -> list[bytes]:
        """Claims on tasks that nobody has given up."""
        return list(self.connection.scan_iter(match=keys.claim("*")))

    def _jobs(self, state: bytes | None) -> list[str]:
        found: dict[str, Any] = {
            key.decode().removeprefix("rq:job:"): self.connection.hget(key, "status")
            for key in self.connection.scan_iter(match="rq:job:*", _type="hash")
        }
        return [job_id for job_id, status in found.items() if state in (None, status)]


def answered(reply: Future[httpx.Response], timeout_s: float = REPLY_S) -> list[Any]:
    """The results of a call that went well; an entry a task."""
    response = reply.result(timeout_s)
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


def hold(pictures: PictureServer, held: Callable[[str], bool]) -> threading.Event:
    """Pictures of these paths are served once the event is set."""
    go = threading.Event()

    def wait(path: str) -> None:
        if held(path):
            go.wait(120)

    pictures.on_get = wait
    return go

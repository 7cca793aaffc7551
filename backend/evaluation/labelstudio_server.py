"""A real Label Studio as a child process of ours."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from backend.errors import ChildFailed
from backend.evaluation.children import Child, bare_environment, free_port

LABEL_STUDIO_VERSION = "1.23.2"
REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv-labelstudio"
TEMPLATE = REPOSITORY / ".cache" / f"labelstudio-{LABEL_STUDIO_VERSION}"
ACCOUNT_FILE = "account.json"
LOG_FILE = "label-studio.log"

FIRST_START_S = 300.0
"""A first start writes the whole database: half a minute on two slow cores."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Account:
    """The one user of a Label Studio that we started.

    token: its legacy API token, enabled. Secrets are made up anew for every template.
    """

    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def invent(cls) -> Account:
        """A fresh account nobody else knows."""
        return cls("demo@example.com", secrets.token_urlsafe(9), secrets.token_hex(20))

    @classmethod
    def read(cls, data_dir: Path) -> Account:
        """The account a data folder was made with."""
        return cls(**json.loads((data_dir / ACCOUNT_FILE).read_text("utf-8")))

    def write(self, data_dir: Path) -> None:
        """Keep the account beside its database, readable by the owner alone."""
        path = data_dir / ACCOUNT_FILE
        path.touch(0o600)
        path.write_text(json.dumps(asdict(self)), "utf-8")


class LabelStudioServer:
    """Label Studio on a loopback port, from start() to stop() or as a context manager.

    executable: its `label-studio`. data_dir: database, uploads, home; made from a migrated
    template when it is missing, so that a start takes seconds instead of half a minute.
    port: None takes a free one. extra_env: further variables, for example ML_TIMEOUT_PREDICT.
    """

    def __init__(
        self,
        executable: Path,
        data_dir: Path,
        *,
        port: int | None = None,
        template: Path = TEMPLATE,
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = data_dir.resolve()
        self._executable = executable
        self._template = template
        self._extra_env = dict(extra_env or {})
        self._child: Child | None = None
        self._account: Account | None = None

    @property
    def account(self) -> Account:
        """Who may sign in; known after start()."""
        if self._account is None:
            self._account = Account.read(self.data_dir)
        return self._account

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._child.pid if self._child is not None else None

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.returncode is None

    def start(self, say: Say | None = None) -> float:
        """Start and wait until it answers; seconds that this took.

        Raises: ChildFailed with the end of its output.
        """
        if not (self.data_dir / ACCOUNT_FILE).exists():
            ensure_template(self._executable, self._template, say)
            shutil.copytree(self._template, self.data_dir, dirs_exist_ok=True)
        self._child = _launch(
            self._executable, self.data_dir, self.port, self.account, self._extra_env
        )
        self._child.start()
        try:
            return self._child.wait_for_http(f"{self.url}/health", FIRST_START_S, say=say)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it with everything it started."""
        if self._child is not None:
            # It handles no interrupt while serving and keeps nothing in memory worth a wait.
            self._child.signal(signal.SIGTERM)
            self._child.stop(grace_s=5.0)
            self._child = None

    def __enter__(self) -> LabelStudioServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def ensure_environment(folder: Path = ENVIRONMENT, say: Say | None = None) -> Path:
    """The `label-studio` executable, installed on first use (about two minutes, 1 GB).

    say: told each line of the installer.
    Raises: ChildFailed with the installer's last lines.
    """
    executable = folder / "bin" / "label-studio"
    if executable.exists() and _installed(folder):
        return executable
    python = folder / "bin" / "python"
    if not python.exists():
        _follow([sys.executable, "-m", "venv", str(folder)], say)
    _follow(
        [str(python), "-m", "pip", "install", f"label-studio=={LABEL_STUDIO_VERSION}"],
        say,
    )
    (folder / f".installed-{LABEL_STUDIO_VERSION}").touch()  # the mark that make looks for
    return executable


def ensure_template(executable: Path, template: Path = TEMPLATE, say: Say | None = None) -> Path:
    """A data folder with a migrated database, one user, no project; built once and kept.

    Concurrent callers wait for the first one.
    """
    template.parent.mkdir(parents=True, exist_ok=True)
    with _locked(template.with_name(f"{template.name}.lock")):
        if (template / ACCOUNT_FILE).exists():
            return template
        with tempfile.TemporaryDirectory(dir=template.parent) as unfinished:
            data_dir = Path(unfinished) / "data"
            data_dir.mkdir(mode=0o700)
            account = Account.invent()
            port = free_port()
            child = _launch(executable, data_dir, port, account, {})
            with child:
                child.wait_for_http(f"http://127.0.0.1:{port}/health", FIRST_START_S, say=say)
                child.signal(signal.SIGTERM)
                child.wait(30.0)
            (data_dir / LOG_FILE).unlink()
            account.write(data_dir)
            data_dir.rename(template)
    return template


def _launch(
    executable: Path, data_dir: Path, port: int, account: Account, extra_env: Mapping[str, str]
) -> Child:
    environment = bare_environment(
        HOME=str(data_dir),
        LABEL_STUDIO_BASE_DATA_DIR=str(data_dir),
        LABEL_STUDIO_USERNAME=account.email,
        LABEL_STUDIO_PASSWORD=account.password,
        LABEL_STUDIO_USER_TOKEN=account.token,
        LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN="true",  # noqa: S106 - a switch, no secret
        # A backend on the same machine has a loopback address; both guards refuse those.
        ML_BLOCK_LOCAL_IP="false",
        SSRF_PROTECTION_ENABLED="false",
        LATEST_VERSION_CHECK="false",
        COLLECT_ANALYTICS="false",
        SENTRY_DSN="",
        FRONTEND_SENTRY_DSN="",
    )
    environment.update(extra_env)
    return Child(
        "Label Studio",
        [
            *(str(executable), "start", "--no-browser"),
            *("-p", str(port), "--internal-host", "127.0.0.1"),
        ],
        env=environment,
        log_path=data_dir / LOG_FILE,
        cwd=data_dir,
    )


def _installed(folder: Path) -> bool:
    # pip installs what a package needs before the package itself, so its metadata
    # tells a finished environment from an interrupted one.
    metadata = f"lib/python*/site-packages/label_studio-{LABEL_STUDIO_VERSION}.dist-info"
    return any(folder.glob(metadata))


def _follow(command: list[str], say: Say | None) -> None:
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        last: list[str] = []
        try:
            for line in process.stdout or ():
                last = [*last[-9:], line.rstrip()]
                if say is not None:
                    say(line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise ChildFailed(
            f"`{' '.join(command)}` failed:\n" + "\n".join(last) + "\n",
            "Check the network or the package index, then try again.",
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

"""The commands: fast help, one way of telling errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from backend.cli.app import COMMANDS, build_app, main
from backend.store.projects import ProjectStore

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a person starts it."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
        "TERM": "dumb",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_but_hidden_ones() -> None:
    told = run("--help")
    assert told.returncode == 0
    for name, entry in COMMANDS.items():
        assert (f" {name} " in told.stdout) is not entry.hidden, name


def test_help_loads_no_room() -> None:
    code = (
        "import sys; from backend.cli.app import build_app; build_app(['--help']); "
        "print([m for m in ('torch', 'redis', 'rq', 'fastapi', 'cv2') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["up", "serve", "worker", "settings"])
def test_each_command_shows_an_example(name: str) -> None:
    told = run(name, "--help")
    assert told.returncode == 0, told.stderr
    assert "Example:" in told.stdout


def test_every_command_can_be_imported() -> None:
    for name in COMMANDS:
        build_app([name])


def test_wrong_settings_are_all_named_once_without_a_traceback() -> None:
    told = run("up", PORT="70000", WORKERS="none", DEVICE="tpu")
    assert told.returncode == 2
    assert told.stdout == ""
    for name in ("PORT", "WORKERS", "DEVICE"):
        assert name in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_parts_without_redis_point_to_up(name: str) -> None:
    told = run(name)
    assert told.returncode == 2
    assert "python -m backend up" in told.stderr


def test_a_machine_without_any_worker_is_refused() -> None:
    told = run("worker", REDIS_URL="redis://127.0.0.1:1/0", WORKERS="0", TRAIN_WORKERS="0")
    assert told.returncode == 2
    assert "WORKERS and TRAIN_WORKERS are both 0" in told.stderr


@pytest.mark.slow
def test_a_redis_that_is_away_is_one_message() -> None:
    told = run("worker", REDIS_URL="redis://user:hunter2@127.0.0.1:1/0")
    assert told.returncode == 2
    assert "127.0.0.1:1" in told.stderr
    assert "hunter2" not in told.stderr
    assert "Traceback" not in told.stderr


def test_a_redis_that_goes_away_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    def gone(*_: object) -> None:
        raise redis.ConnectionError("Connection closed by server.")

    monkeypatch.setattr(ProjectStore, "get", gone)  # after connect() found it well
    monkeypatch.setenv("REDIS_URL", redis_url)
    with pytest.raises(SystemExit) as ended:
        main(["heads", "list", "--project", "1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "Error: Redis failed: Connection closed by server.",
        "Check that it runs, then run this again.",
    ]


def test_an_error_that_nobody_expects_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("backend.cli.settings.command", wrong)
    with pytest.raises(ZeroDivisionError):
        main(["settings"])

"""Log lines: two forms, bound ids, no secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.logs import hide_secrets

ROOT = Path(__file__).resolve().parents[1]

CODE = """
import logging, sys, structlog
from backend.logs import configure_logs
configure_logs(sys.argv[1], sys.argv[2])
log = structlog.get_logger("backend.test")
with structlog.contextvars.bound_contextvars(job="j1"):
    log.info("task_done", task=3, api_key="hunter2")
log.debug("not_shown")
logging.getLogger("rq.worker").info("chatter")
logging.getLogger("somebody").warning("told %s", "by a library")
"""


def told(level: str, log_format: str) -> str:
    """What goes to stderr; nothing may go to stdout."""
    command = [sys.executable, "-c", CODE, level, log_format]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == ""
    return done.stderr


def test_json_lines_carry_ids_and_hide_secrets() -> None:
    first, second = [json.loads(line) for line in told("info", "json").splitlines()]
    assert first["event"] == "task_done"
    assert (first["task"], first["job"], first["api_key"]) == (3, "j1", "***")
    assert first["level"] == "info"
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "told by a library"


def test_text_lines_are_for_people() -> None:
    text = told("info", "text")
    assert "task_done" in text
    assert "task=3" in text
    assert "hunter2" not in text
    assert "not_shown" not in text
    assert "chatter" not in text


def test_the_level_counts() -> None:
    assert "task_done" not in told("warning", "text")
    assert "not_shown" in told("debug", "text")


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("password", True),
        ("basic_auth_pass", True),
        ("label_studio_api_key", True),
        ("Authorization", True),
        ("access_token", True),
        ("task", False),
        ("key", False),
        ("passed", False),
        ("tokens_used", True),
    ],
)
def test_keys_that_look_secret(key: str, hidden: bool) -> None:
    event = hide_secrets(None, "", {key: "v", "inner": {key: "v"}})
    assert (event[key] == "***") is hidden
    assert (event["inner"][key] == "***") is hidden

"""Log lines: two forms, bound ids, no secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.logs import hide_in_text, hide_secrets

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hunter2@redis:6379/0", "redis://***@redis:6379/0"),
        ("at http://a:b@c/d.png.", "at http://***@c/d.png."),
        ("https://s3/b/a.png?X-Amz-Signature=ab&c=d is", "https://s3/b/a.png?… is"),
        ('{"url": "gs://b/a?sig=1", "n": 1}', '{"url": "gs://b/a?…", "n": 1}'),
        ("Authorization: Bearer abc.def-ghi.jkl", "Authorization: Bearer ***"),
        ("Basic bWFyazptYXJrbWFyaw==", "Basic ***"),
        ("Token 0123456789abcdef", "Token ***"),
        ("Token is invalid or expired", "Token is invalid or expired"),
        ("someone@example.com asked /a?b=c", "someone@example.com asked /a?b=c"),
        ("http://ls:8080/data/upload/1/a@2x.png", "http://ls:8080/data/upload/1/a@2x.png"),
    ],
)
def test_texts_that_look_secret(text: str, shown: str) -> None:
    assert hide_in_text(None, "", text) == shown


FORGING = r"""
import structlog, sys
from backend.logs import configure_logs
configure_logs("info", sys.argv[1])
log = structlog.get_logger("backend.test")
log.info("request", path="/a\n12:00:00 [info] forged\x1b[2J\u2028x")
try:
    raise ValueError("redis://:hunter2@redis/0")
except ValueError:
    log.exception("request_failed")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_text_forges_a_line_and_tracebacks_hide_secrets(log_format: str) -> None:
    command = [sys.executable, "-c", FORGING, log_format]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    first, *rest = done.stderr.splitlines()
    assert "forged" in first
    assert "\x1b" not in done.stderr
    assert "hunter2" not in done.stderr
    assert "ValueError: redis://***@redis/0" in first + "".join(rest)

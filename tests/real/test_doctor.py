"""The doctor beside a running backend and a real Label Studio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.cli.demo import template_text
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.labelstudio_user import LabelStudioUser
from tests.real.projects import run_command


@pytest.fixture(scope="module")
def project_id(user: LabelStudioUser, backend: BackendProcess, photos: list[Path]) -> int:
    number = user.create_project("Doctor", template_text("boxes"))
    user.upload(number, photos[:1])
    user.connect_backend(number, backend.url)
    return number


def test_every_hop_is_ok(backend: BackendProcess, project_id: int) -> None:
    run = run_command("doctor", "--project", str(project_id), "--json", env=backend.env)
    checks = json.loads(run.stdout)["checks"]
    assert [check for check in checks if check["state"] != "ok"] == []
    names = {check["name"] for check in checks}
    assert {"Redis", "workers", "weights", "Label Studio", "webhook", "picture"} <= names
    assert run.returncode == 0


def test_a_wrong_key_is_told_with_what_to_do(backend: BackendProcess, project_id: int) -> None:
    env = {**backend.env, "LABEL_STUDIO_API_KEY": "0" * 40}
    run = run_command("doctor", "--project", str(project_id), "--json", env=env)
    assert run.returncode == 1
    problems = [c for c in json.loads(run.stdout)["checks"] if c["state"] == "problem"]
    assert problems[0]["name"] == "API key"
    assert "LABEL_STUDIO_API_KEY" in problems[0]["remedy"]
    assert "0" * 40 not in run.stdout + run.stderr


def test_people_get_a_line_a_hop(backend: BackendProcess) -> None:
    run = run_command("doctor", env=backend.env)
    assert run.returncode == 0
    assert all(line.split()[0] in ("ok", "warning") for line in run.stdout.splitlines() if line)

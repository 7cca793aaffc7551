"""Dockerfile and simple compose file: what they promise is held against the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.evaluation.labelstudio_server import LABEL_STUDIO_VERSION
from backend.jobs.supervisor import STOP_GRACE_S
from backend.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_TEXT = (ROOT / "plugin_config" / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
DEPLOY_PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
BACKENDS = ("server", "worker")


def instructions(word: str) -> list[str]:
    """Arguments of each such instruction of the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n(?:\s*#.*\n)*", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return re.findall(rf"(?m)^{word} (.*)$", joined)


@pytest.mark.parametrize("service", BACKENDS)
def test_every_variable_of_the_backend_is_a_setting(service: str) -> None:
    known = {str(info.alias) for info in Settings.model_fields.values()}
    assert set(SERVICES[service]["environment"]) <= known


@pytest.mark.parametrize("service", BACKENDS)
def test_defaults_in_the_compose_file_are_accepted(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for info in Settings.model_fields.values():
        monkeypatch.delenv(str(info.alias), raising=False)
    for name, value in SERVICES[service]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+(?::-(.*?)|:\?.*?)\}", r"\1", value) or "x" * 40)
    settings = load_settings()
    assert settings.redis_url == "redis://redis:6379/0"
    assert settings.can_push
    # What the compose file leaves to its reader has the same default as the code.
    plain = Settings.model_construct()
    for name in ("backbone", "predict_deadline_s", "log_level", "device", "workers"):
        assert getattr(settings, name) == getattr(plain, name)


def test_label_studio_accepts_a_backend_with_a_private_address() -> None:
    environment = SERVICES["label-studio"]["environment"]
    assert environment["ML_BLOCK_LOCAL_IP"] == "false"
    assert environment["SSRF_PROTECTION_ENABLED"] == "false"


def test_the_key_of_the_backend_is_the_token_of_the_first_user() -> None:
    label_studio = SERVICES["label-studio"]["environment"]
    key = SERVICES["server"]["environment"]["LABEL_STUDIO_API_KEY"]
    assert label_studio["LABEL_STUDIO_USER_TOKEN"] == key
    assert label_studio["LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"] == "true"


def test_the_server_has_a_dotted_name_for_the_webhook() -> None:
    aliases = SERVICES["server"]["networks"]["default"]["aliases"]
    assert any("." in alias for alias in aliases)
    assert f"http://{aliases[0]}:9090" in DEPLOY_PAGE


def test_one_label_studio_version_everywhere() -> None:
    makefile = re.search(r"(?m)^LS_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"))
    assert makefile is not None
    image = SERVICES["label-studio"]["image"]
    assert {makefile[1], image.rpartition(":")[2]} == {LABEL_STUDIO_VERSION}


def test_every_service_has_a_health_check_and_every_volume_a_user() -> None:
    assert all(
        "healthcheck" in service or name == "server" for name, service in SERVICES.items()
    )  # the server's comes with its image
    used = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])


def test_volumes_lie_where_the_image_has_folders_of_its_user() -> None:
    last = instructions("RUN")[-1]
    owned = set(last.partition("chown 10001:10001")[2].split())
    mounted = {mount.partition(":")[2] for mount in SERVICES["worker"]["volumes"]}
    assert mounted == owned == {"/data", "/weights"}
    variables = dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[-1]))
    assert {variables["DATA_DIR"], variables["TORCH_HOME"]} == owned


@pytest.mark.parametrize("service", BACKENDS)
def test_containers_of_the_backend_are_locked(service: str) -> None:
    entry = SERVICES[service]
    assert entry["read_only"] is True
    assert entry["tmpfs"] == ["/tmp"]
    assert entry["cap_drop"] == ["ALL"]
    assert entry["security_opt"] == ["no-new-privileges:true"]


def test_a_stopped_worker_has_the_time_that_its_jobs_get() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > STOP_GRACE_S


def test_images_have_a_version() -> None:
    images = {service["image"] for service in SERVICES.values()} - {"saliency-backend"}
    images.add(re.findall(r"(?m)^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE)[0])
    assert all(re.search(r":\d+\.\d+", image) for image in images), images


@pytest.mark.parametrize(
    "variable", sorted(set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))), ids=lambda name: str(name)
)
def test_every_variable_one_may_set_is_explained(variable: str) -> None:
    assert f"`{variable}`" in DEPLOY_PAGE


def test_the_image_does_not_run_as_root() -> None:
    # By number, and the same that owns the folders: Kubernetes does not look names up.
    assert instructions("USER") == ["10001:10001"]


def test_every_stage_that_is_copied_from_exists() -> None:
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\w+)$", DOCKERFILE))
    used = set(re.findall(r"--from=(\w+)", DOCKERFILE))
    assert used == stages == {"packages", "application"}
    # What builds stays behind: the last stage runs neither pip nor a compiler.
    assert "pip" not in DOCKERFILE.rpartition("FROM ")[2]


@pytest.mark.parametrize(
    ("choice", "installed"), [("0", False), ("1", True)], ids=["left out", "kept"]
)
def test_label_studio_ml_can_be_left_out_of_the_image(
    tmp_path: Path, choice: str, installed: bool
) -> None:
    """The image's own shell line runs with programs that only write down what they were given."""
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\nfor file; do :; done\necho "$@" >> calls\ncat "$file" >> wanted\n')
    python = pip.with_name("python")
    python.write_text('#!/bin/sh\necho "$@" >> environments\n')
    pip.chmod(0o755)
    python.chmod(0o755)
    (tmp_path / "requirements.txt").write_bytes((ROOT / "requirements.txt").read_bytes())
    subprocess.run(
        ["sh", "-c", instructions("RUN")[0]],
        cwd=tmp_path,
        check=True,
        env={
            "PATH": f"{pip.parent}:{os.environ['PATH']}",
            "PIP_ARGS": "--retries 9",
            "TORCH_INDEX": "https://torch.example/cpu",
            "WITH_LABEL_STUDIO_ML": choice,
        },
    )
    calls = (tmp_path / "calls").read_text("utf-8").splitlines()
    into = "--python /opt/venv/bin/python install --retries 9"
    assert calls[0] == f"{into} --index-url https://torch.example/cpu -r torch.txt"
    assert calls[1:] == [f"{into} -r wanted.txt"]
    assert (tmp_path / "environments").read_text("utf-8") == "-m venv --without-pip /opt/venv\n"
    wanted = (tmp_path / "wanted").read_text("utf-8")
    assert ("\nlabel-studio-ml==" in wanted) is installed
    assert "\nfastapi" in wanted
    assert wanted.startswith("torch>=")


def test_a_wrong_choice_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("torch>=1\n", "utf-8")
    result = subprocess.run(
        ["sh", "-c", instructions("RUN")[0]],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "WITH_LABEL_STUDIO_ML": "yes"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "WITH_LABEL_STUDIO_ML is 0 or 1" in result.stdout


def test_the_builder_gets_only_what_the_image_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        part.removeprefix("./")
        for line in instructions("COPY")
        for part in line.split()[:-1]
        if not line.startswith("--from=")
    }
    assert "*" in lines
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize(
    "command",
    [
        yaml.safe_load(instructions("CMD")[-1]),
        yaml.safe_load(instructions("HEALTHCHECK")[0].partition("CMD ")[2]),
        SERVICES["worker"]["healthcheck"]["test"][1:],
        *(SERVICES[name]["command"] for name in BACKENDS),
    ],
    ids=["image", "health of the image", "health of a worker", *BACKENDS],
)
def test_commands_exist(command: list[str]) -> None:
    assert command[:3] == ["python", "-m", "backend"]
    run = subprocess.run(
        [sys.executable, *command[1:], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_example_in_the_compose_file_is_the_one_of_the_page() -> None:
    example = [line[4:] for line in COMPOSE_TEXT.splitlines() if line.startswith("#   ")]
    assert len(example) == 4
    assert all(line in DEPLOY_PAGE for line in example)
    assert all(shlex.split(line) for line in example)

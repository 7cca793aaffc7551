"""The production example for compose: what it promises is held against the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.evaluation.labelstudio_server import LABEL_STUDIO_VERSION
from backend.jobs.slots import plan_slots, plan_train_slots
from backend.jobs.supervisor import STOP_GRACE_S
from backend.settings import Settings, load_settings
from tests.test_deployment_files import DEPLOY_PAGE, DOCKERFILE

FOLDER = Path(__file__).resolve().parents[1] / "plugin_config" / "production"
TEXT = (FOLDER / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GPU_TEXT = (FOLDER / "gpu.yml").read_text("utf-8")
GPU: dict[str, dict[str, Any]] = yaml.safe_load(GPU_TEXT)["services"]
NGINX = (FOLDER / "nginx.conf").read_text("utf-8")
EXAMPLE = dict(re.findall(r"(?m)^(\w+)=(.*)$", (FOLDER / ".env.example").read_text("utf-8")))
BACKENDS = ("server", "worker", "train-worker")
# Their images prepare files when they start, or get one copied in.
WRITABLE = {"label-studio", "label-studio-app", "prometheus"}


def filled_in(text: str) -> str:
    """A value with what a reader who filled in .env gets, defaults where he may leave it."""

    def value(found: re.Match[str]) -> str:
        return EXAMPLE.get(found[1]) or found[2] or "0123456789abcdef" * 2

    return re.sub(r"\$\{(\w+)(?::?-(.*?)|:\?.*?)?\}", value, text)


def settings_of(service: str, monkeypatch: pytest.MonkeyPatch, **more: str) -> Settings:
    """What the backend makes of the service's environment."""
    for info in Settings.model_fields.values():
        monkeypatch.delenv(str(info.alias), raising=False)
    for name, value in {**SERVICES[service]["environment"], **more}.items():
        monkeypatch.setenv(name, filled_in(value))
    return load_settings()


@pytest.mark.parametrize("service", BACKENDS)
def test_every_variable_is_a_setting_and_accepted(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {str(info.alias) for info in Settings.model_fields.values()}
    assert set(SERVICES[service]["environment"]) <= known
    settings = settings_of(service, monkeypatch)
    assert settings.can_push
    assert settings.basic_auth_user
    assert settings.label_studio_url == "http://label-studio:8085"
    assert re.fullmatch(r"redis://:\w{16,}@redis:6379/0", settings.redis_url)


def test_workers_predict_and_train_workers_train(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {}
    for service in ("worker", "train-worker"):
        settings = settings_of(service, monkeypatch)
        slots = plan_slots(settings, 0, 4)
        kinds[service] = [one.kind for one in slots + plan_train_slots(settings, 0, len(slots))]
    assert kinds == {"worker": ["predict", "predict"], "train-worker": ["train"]}


def test_gpus_are_lent_to_workers_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, entry in GPU.items():
        settings = settings_of(service, monkeypatch, **entry["environment"])
        slots = plan_slots(settings, 2, 8) or plan_train_slots(settings, 2, 0)
        assert all(slot.device.startswith("cuda:") for slot in slots)
        (device,) = entry["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        # An image of its own: the server keeps the small one.
        assert entry["image"] != SERVICES["server"]["image"]
    assert set(GPU) == {"worker", "train-worker"}


@pytest.mark.parametrize("text", [TEXT, GPU_TEXT], ids=["compose", "GPUs"])
def test_build_arguments_are_those_of_the_image(text: str) -> None:
    arguments = set(re.findall(r"(?m)^ARG (\w+)=", DOCKERFILE))
    found = yaml.safe_load(text)
    given = found.get("x-backend", found.get("x-gpu"))["build"]["args"]
    assert set(given) <= arguments
    assert given


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_are_locked_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["restart"] == "unless-stopped"
    if name not in WRITABLE:
        assert service["read_only"] is True
        assert any(str(place).startswith("/tmp") for place in service["tmpfs"])
    if not name.startswith("label-studio"):
        assert service["cap_drop"] == ["ALL"]
    assert not service.get("privileged")
    assert str(service.get("user", "1")) != "0"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_have_a_version(name: str) -> None:
    image = filled_in(SERVICES[name]["image"])
    if image.startswith("saliency-backend:"):
        assert "build" in SERVICES[name]
        return
    assert re.search(r":v?\d+\.\d+|:17-", image), image
    if "label-studio" in image:
        assert image.endswith(f":{LABEL_STUDIO_VERSION}")


def test_only_the_proxy_is_reached_from_outside() -> None:
    published = {
        name: [port for port in service["ports"] if not port.startswith("127.0.0.1:")]
        for name, service in SERVICES.items()
        if "ports" in service
    }
    assert {name for name, ports in published.items() if ports} == {"proxy"}


def test_stores_have_no_way_out() -> None:
    internal = {name for name, net in COMPOSE["networks"].items() if net and net.get("internal")}
    assert set(SERVICES["redis"]["networks"]) <= internal
    assert set(SERVICES["postgres"]["networks"]) <= internal


def test_who_calls_whom_shares_a_network() -> None:
    calls = [
        ("proxy", "label-studio"),
        ("proxy", "server"),
        ("label-studio", "label-studio-app"),
        ("label-studio-app", "postgres"),
        ("label-studio-app", "server"),
        ("server", "redis"),
        ("server", "label-studio"),
        ("worker", "redis"),
        ("worker", "label-studio"),
        ("train-worker", "redis"),
        ("train-worker", "label-studio"),
        ("prometheus", "server"),
        ("grafana", "prometheus"),
    ]
    for caller, called in calls:
        both = set(SERVICES[caller]["networks"]) & set(SERVICES[called]["networks"])
        assert both, f"{caller} does not reach {called}"


def test_redis_asks_for_the_password_that_the_backend_has() -> None:
    command = SERVICES["redis"]["command"]
    password = command[command.index("--requirepass") + 1]
    assert f"redis://:{password}@" in SERVICES["server"]["environment"]["REDIS_URL"]
    assert SERVICES["redis"]["environment"]["REDISCLI_AUTH"] == password
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert any(mount.endswith(":/data") for mount in SERVICES["redis"]["volumes"])


def test_label_studio_lets_the_backend_in() -> None:
    environment = SERVICES["label-studio-app"]["environment"]
    assert environment["ML_BLOCK_LOCAL_IP"] == environment["SSRF_PROTECTION_ENABLED"] == "false"
    assert environment["LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"] == "true"
    key = SERVICES["server"]["environment"]["LABEL_STUDIO_API_KEY"]
    assert environment["LABEL_STUDIO_USER_TOKEN"] == key
    (alias,) = SERVICES["server"]["networks"]["edge"]["aliases"]
    assert "." in alias  # else Label Studio registers no webhook
    assert f"@{alias}:9090" in DEPLOY_PAGE


@pytest.mark.parametrize("service", ["worker", "train-worker"])
def test_a_stopped_worker_has_the_time_that_its_jobs_get(service: str) -> None:
    assert int(SERVICES[service]["stop_grace_period"].removesuffix("s")) > STOP_GRACE_S


def test_every_variable_without_a_default_stands_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert asked <= set(EXAMPLE)
    used = set(re.findall(r"\$\{(\w+)", TEXT + GPU_TEXT))
    assert set(EXAMPLE) <= used
    assert all(not EXAMPLE[name] for name in asked if "PASS" in name or "KEY" in name)


def test_mounted_files_exist() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    for mount in mounts:
        if mount.startswith("."):
            assert (FOLDER / mount.partition(":")[0]).exists(), mount
            assert mount.endswith(":ro")


def test_the_proxy_passes_to_services_that_listen_there() -> None:
    upstreams = dict(re.findall(r"set \$\w+ ([\w-]+):(\d+);", NGINX))
    assert upstreams == {"label-studio": "8085", "server": "9090"}
    assert set(upstreams) <= set(SERVICES)
    assert SERVICES["server"]["environment"].get("PORT", "9090") == upstreams["server"]
    inside = {port.rpartition(":")[2] for port in SERVICES["proxy"]["ports"]}
    assert inside == set(re.findall(r"listen (\d+)", NGINX))


def test_the_proxy_lets_through_what_the_backend_accepts() -> None:
    block = NGINX[NGINX.index("listen 9443") :]
    body = re.search(r"client_max_body_size (\d+)m;", block)
    wait = re.search(r"proxy_read_timeout (\d+)s;", block)
    assert body is not None
    assert wait is not None
    assert int(body[1]) * 2**20 == Settings.model_construct().request_bytes
    longest = next(
        limit.le for limit in Settings.model_fields["predict_deadline_s"].metadata
        if hasattr(limit, "le")
    )  # fmt: skip
    assert int(wait[1]) > longest


def test_the_proxy_keeps_queries_out_of_its_log() -> None:
    (formats,) = re.findall(r"log_format \w+ '(.*)';", NGINX)
    assert "$uri" in formats
    assert not re.search(r"\$(request|request_uri|args|query_string)\b", formats)


def test_prometheus_signs_in_where_the_backend_asks_for_it() -> None:
    config = yaml.safe_load(filled_in(COMPOSE["configs"]["prometheus"]["content"]))
    (job,) = config["scrape_configs"]
    simple = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert job["job_name"] == simple["scrape_configs"][0]["job_name"]
    assert config["rule_files"] == simple["rule_files"]
    environment = SERVICES["server"]["environment"]
    assert job["basic_auth"]["username"] == filled_in(environment["BASIC_AUTH_USER"])
    assert job["dns_sd_configs"][0]["names"] == ["server"]


def test_the_example_in_the_compose_file_is_the_one_of_the_page() -> None:
    example = [line[4:] for line in TEXT.splitlines() if line.startswith("#   ")]
    assert len(example) == 4
    for line in example:
        command = line.partition(" #")[0].rstrip()
        assert command in DEPLOY_PAGE, command

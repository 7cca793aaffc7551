"""The Kubernetes manifests: what they promise is held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from backend.cli import serve
from backend.jobs.queues import QUEUES, TRAIN_QUEUES, enqueue, queue
from backend.jobs.slots import plan_slots, plan_train_slots
from backend.jobs.supervisor import STOP_GRACE_S
from backend.server.auth import OPEN_PATH
from backend.settings import Settings, load_settings
from tests.test_deployment_files import DEPLOY_PAGE, ROOT, instructions

FOLDER = ROOT / "plugin_config" / "kubernetes"
BACKENDS = ("saliency-server", "saliency-worker", "saliency-train-worker")
NAMES = (*BACKENDS, "saliency-redis")
Resource = dict[str, Any]


def documents(path: Path) -> list[Resource]:
    """All resources of a file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


RESOURCES = [one for path in sorted(FOLDER.glob("base/*.yaml")) for one in documents(path)]
SCALING = documents(FOLDER / "autoscaler" / "scaled-objects.yaml")
(SECRET,) = documents(FOLDER / "secret.example.yaml")


def named(kind: str, name: str) -> Resource:
    """The resource of this kind and name."""
    (found,) = (
        one
        for one in RESOURCES + SCALING
        if one["kind"] == kind and one.get("metadata", {}).get("name") == name
    )
    return found


def workload(name: str) -> Resource:
    """The Deployment or StatefulSet."""
    return named("StatefulSet" if name == "saliency-redis" else "Deployment", name)


def pod(name: str) -> Resource:
    """What the workload's pods are made of."""
    spec: Resource = workload(name)["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Resource:
    """The one container of its pods."""
    (found,) = pod(name)["containers"]
    return dict(found)


def environment(name: str) -> dict[str, str]:
    """What a process in the container reads; ``$(NAME)`` stands for an earlier variable."""
    values: dict[str, str] = {}
    for source in container(name).get("envFrom", []):
        values |= named("ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in container(name)["env"]:
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            assert reference["name"] == SECRET["metadata"]["name"]
            values[entry["name"]] = SECRET["stringData"][reference["key"]] or "5" * 40
        else:
            values[entry["name"]] = re.sub(
                r"\$\((\w+)\)", lambda found: values[found[1]], entry["value"]
            )
    return values


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the backend makes of it."""
    for info in Settings.model_fields.values():
        monkeypatch.delenv(str(info.alias), raising=False)
    for variable, value in environment(name).items():
        monkeypatch.setenv(variable, value)
    return load_settings()


@pytest.mark.parametrize("name", BACKENDS)
def test_every_variable_is_a_setting_and_accepted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {str(info.alias) for info in Settings.model_fields.values()}
    # REDIS_PASSWORD is no setting of ours: REDIS_URL is put together from it.
    assert set(environment(name)) - known == {"REDIS_PASSWORD"}
    settings = settings_of(name, monkeypatch)
    assert settings.can_push
    service = named("Service", "saliency-redis")
    port = service["spec"]["ports"][0]["port"]
    assert settings.redis_url == f"redis://:{'5' * 40}@saliency-redis:{port}/0"


def test_workers_predict_and_train_workers_train(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {}
    for name in BACKENDS[1:]:
        settings = settings_of(name, monkeypatch)
        slots = plan_slots(settings, 0, 4)
        kinds[name] = [one.kind for one in slots + plan_train_slots(settings, 0, len(slots))]
    assert kinds == {"saliency-worker": ["predict"] * 2, "saliency-train-worker": ["train"]}


def test_the_server_asks_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of("saliency-server", monkeypatch).basic_auth_user


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_locked(name: str) -> None:
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    outer, inner = spec["securityContext"], container(name)["securityContext"]
    assert outer["runAsNonRoot"] is True
    assert outer["runAsUser"] > 0
    assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert {"requests", "limits"} == set(container(name)["resources"])


@pytest.mark.parametrize("name", BACKENDS)
def test_pods_run_as_the_user_of_the_image(name: str) -> None:
    outer = pod(name)["securityContext"]
    assert f"{outer['runAsUser']}:{outer['runAsGroup']}" == instructions("USER")[-1]


@pytest.mark.parametrize("name", NAMES)
def test_mounts_have_a_volume_and_what_is_written_a_mount(name: str) -> None:
    claims = workload(name)["spec"].get("volumeClaimTemplates", [])
    volumes = {one["name"] for one in pod(name).get("volumes", [])}
    volumes |= {one["metadata"]["name"] for one in claims}
    mounts = {one["mountPath"]: one["name"] for one in container(name)["volumeMounts"]}
    assert set(mounts.values()) == volumes
    written = {"saliency-redis": {"/data"}, "saliency-server": {"/tmp"}}
    assert set(mounts) == written.get(name, {"/tmp", "/data"})
    # A mount there would hide the weights in the image.
    assert "/weights" not in mounts


def test_room_for_what_is_kept_of_pictures() -> None:
    for name in BACKENDS[1:]:
        (data,) = (one for one in pod(name)["volumes"] if one["name"] == "data")
        gibibytes = int(data["emptyDir"]["sizeLimit"].removesuffix("Gi"))
        assert gibibytes * 2**30 > Settings.model_construct().feature_cache_bytes


@pytest.mark.parametrize("name", NAMES)
def test_images_have_a_version(name: str) -> None:
    image = container(name)["image"]
    if name in BACKENDS:
        (entry,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))["images"]
        assert image == entry["name"]
        image = f"{entry['newName']}:{entry['newTag']}"
    assert re.search(r":\d+\.\d+", image), image


def probes(name: str) -> Iterator[tuple[str, Resource]]:
    """The probes of a container by name."""
    for key, probe in container(name).items():
        if key.endswith("Probe"):
            yield key, probe


def test_probes_of_the_server_ask_what_needs_no_password() -> None:
    asked = dict(probes("saliency-server"))
    assert set(asked) == {"startupProbe", "readinessProbe", "livenessProbe"}
    ports = {one["name"]: one["containerPort"] for one in container("saliency-server")["ports"]}
    for probe in asked.values():
        assert probe["httpGet"]["path"] == OPEN_PATH
        assert ports[probe["httpGet"]["port"]] == Settings.model_construct().port


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_probes_of_workers_are_a_command_and_none_kills(name: str) -> None:
    asked = dict(probes(name))
    assert set(asked) == {"startupProbe", "readinessProbe"}
    for probe in asked.values():
        assert probe["exec"]["command"] == ["python", "-m", "backend", "probe", "worker"]


@pytest.mark.parametrize(
    "command",
    [["python", "-m", "backend", "probe", "worker"], *(container(n)["command"] for n in BACKENDS)],
    ids=lambda command: command[-1],
)
def test_commands_exist(command: list[str]) -> None:
    assert command[:3] == ["python", "-m", "backend"]
    run = subprocess.run(
        [sys.executable, *command[1:], "--help"], cwd=ROOT, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_pods_have_the_time_to_end() -> None:
    for name in BACKENDS[1:]:
        assert pod(name)["terminationGracePeriodSeconds"] >= STOP_GRACE_S + 10
    server = container("saliency-server")
    _, pause_s = server["lifecycle"]["preStop"]["exec"]["command"]
    needed_s = int(pause_s) + serve._STOP_GRACE_S
    assert pod("saliency-server")["terminationGracePeriodSeconds"] > needed_s


def test_selectors_find_their_pods() -> None:
    labels = {name: workload(name)["spec"]["template"]["metadata"]["labels"] for name in NAMES}
    for name in NAMES:
        wanted = workload(name)["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= labels[name].items()
    for resource in RESOURCES:
        if resource["kind"] == "Service":
            name = resource["metadata"]["name"]
            assert resource["spec"]["selector"].items() <= labels[name].items()
            ports = {one["name"] for one in container(name)["ports"]}
            assert {one["targetPort"] for one in resource["spec"]["ports"]} <= ports
        if resource["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            spec = resource["spec"]
            wanted = (spec.get("selector") or spec["podSelector"]).get("matchLabels", {})
            assert any(wanted.items() <= found.items() for found in labels.values())


def test_redis_is_reached_by_the_backend_and_the_autoscaler_alone() -> None:
    (rule,) = named("NetworkPolicy", "saliency-redis")["spec"]["ingress"]
    client = rule["from"][0]["podSelector"]["matchLabels"]
    clients = {
        name
        for name in NAMES
        if client.items() <= workload(name)["spec"]["template"]["metadata"]["labels"].items()
    }
    assert clients == set(BACKENDS)
    assert len(rule["from"]) == 2
    assert named("NetworkPolicy", "saliency-nothing")["spec"]["policyTypes"] == [
        "Ingress",
        "Egress",
    ]


def test_everything_in_the_folder_is_applied_but_the_secret() -> None:
    for folder in ("base", "autoscaler"):
        listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text("utf-8"))
        files = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
        assert set(listed["resources"]) == files
    assert "secret" not in re.sub(
        r"(?m)#.*", "", (FOLDER / "kustomization.yaml").read_text("utf-8")
    )
    assert all(not value for name, value in SECRET["stringData"].items() if "USER" not in name)


def lists_watched(name: str) -> set[str]:
    """The Redis lists that decide on the number of replicas."""
    return {one["metadata"]["listName"] for one in named("ScaledObject", name)["spec"]["triggers"]}


@pytest.mark.parametrize(
    ("name", "queues"),
    [("saliency-worker", QUEUES), ("saliency-train-worker", TRAIN_QUEUES)],
    ids=["predict", "train"],
)
def test_the_autoscaler_counts_what_really_waits(
    connection: redis.Redis, name: str, queues: tuple[str, ...]
) -> None:
    settings = load_settings()
    for queue_name in queues:
        enqueue(
            connection,
            queue_name,
            "backend.jobs.carrier.run",
            {},
            settings=settings,
            description="",
        )
    watched = lists_watched(name)
    assert watched == {queue(connection, one).key for one in queues}
    # As KEDA asks: the length of a list under just this key.
    assert [connection.llen(key) for key in sorted(watched)] == [1] * len(queues)


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_autoscaler_finds_redis_and_its_target(name: str) -> None:
    spec = named("ScaledObject", name)["spec"]
    assert named("Deployment", spec["scaleTargetRef"]["name"])
    # With none, a list that is empty while the last job runs would end that job's pod.
    assert spec["minReplicaCount"] >= 1
    for trigger in spec["triggers"]:
        host, _, port = trigger["metadata"]["address"].partition(":")
        service = named("Service", "saliency-redis")
        assert host == "saliency-redis.saliency.svc.cluster.local"
        assert int(port) == service["spec"]["ports"][0]["port"]
        sign_in = named("TriggerAuthentication", trigger["authenticationRef"]["name"])
        (reference,) = sign_in["spec"]["secretTargetRef"]
        assert reference["parameter"] == "password"
        assert reference["name"] == SECRET["metadata"]["name"]
        assert reference["key"] in SECRET["stringData"]


def test_the_page_names_the_address_for_label_studio() -> None:
    service = named("Service", "saliency-server")
    host = f"{service['metadata']['name']}.{SECRET['metadata']['namespace']}.svc.cluster.local"
    assert f"@{host}:{service['spec']['ports'][0]['port']}" in DEPLOY_PAGE

"""backend.cli.doctor: each hop by itself, then the whole command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis
import typer
from typer.testing import CliRunner

from backend.cli import check_labelstudio as studio
from backend.cli import check_own as own
from backend.cli.check import Check, healthy
from backend.cli.doctor import command
from backend.domain import BackboneIdentity, Task
from backend.labelstudio.api_values import MlBackend, Project, Webhook
from backend.labelstudio.labelspec import parse_label_config
from backend.settings import load_settings
from backend.store.embedded import EmbeddedRedis, running_url
from backend.store.fleet import Fleet, WorkerInfo
from backend.store.heads import NO_HEAD, HeadRef
from backend.store.ledgers import Changes
from backend.vision.classes import imagenet_classes
from tests.labelstudio_standin import LEGACY_KEY, LabelStudioStandin, running

CONFIG = """<View><Image name="img" value="$image"/><RectangleLabels name="box" toName="img">
<Label value="Magpie"/><Label value="Gadget"/></RectangleLabels></View>"""
PICTURE = bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1])

app = typer.Typer()
app.command()(command)


def worker(state: Any = "ready", **more: Any) -> WorkerInfo:
    fields: dict[str, Any] = {"name": "w1", "host": "host", "pid": 1, "device": "cpu"}
    return WorkerInfo(**{**fields, "backbone": "mobilenet_v2", "state": state, **more})


def backend(url: str = "http://10.0.0.5:9090", **more: Any) -> MlBackend:
    fields: dict[str, Any] = {"id": 1, "title": "model", "state": "CO", "model_version": "v"}
    return MlBackend(url=url, is_interactive=False, **{**fields, **more})


def webhook(url: str = "http://10.0.0.5:9090/webhook", **more: Any) -> Webhook:
    fields: dict[str, Any] = {"id": 1, "is_active": True, "all_actions": True, "actions": ()}
    return Webhook(url=url, **{**fields, **more})


def assert_found(check: Check, state: str, words: str) -> None:
    assert check.state == state
    assert words in f"{check.detail} {check.remedy}"
    assert bool(check.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("workers", "state", "words"),
    [
        pytest.param([], "problem", "No worker lives", id="none"),
        pytest.param([worker()], "ok", "1 ready on cpu", id="ready"),
        pytest.param([worker("starting")], "warning", "being loaded", id="starting"),
        pytest.param([worker("failed", reason="no weights")], "problem", "no weights", id="failed"),
        pytest.param(
            [worker(), worker("failed", reason="no GPU")], "warning", "no GPU", id="one of two"
        ),
    ],
)
def test_workers(workers: list[WorkerInfo], state: str, words: str) -> None:
    assert_found(own.check_workers(workers), state, words)


@pytest.mark.parametrize(
    ("identity", "state", "words"),
    [
        pytest.param(None, "warning", "No worker has published", id="none"),
        pytest.param(BackboneIdentity("mobilenet_v2", "ab12", 224), "ok", "ab12", id="same"),
        pytest.param(BackboneIdentity("vgg16", "ab12", 224), "warning", "vgg16", id="other"),
    ],
)
def test_weights(identity: BackboneIdentity | None, state: str, words: str) -> None:
    assert_found(own.check_weights(identity, load_settings(backbone="mobilenet_v2")), state, words)


@pytest.mark.parametrize(
    ("setting", "state", "words"),
    [("auto", "warning", "BACKBONE_WEIGHTS"), ("embedded", "ok", "ab12, 256 px, from embedded")],
)
def test_the_embedded_weights(setting: str, state: str, words: str) -> None:
    identity = BackboneIdentity("embedded", "ab12", 256, (), "embedded")
    assert_found(own.check_weights(identity, load_settings(backbone=setting)), state, words)


@pytest.mark.parametrize(
    ("backends", "state", "words"),
    [
        pytest.param([], "problem", "ML_BLOCK_LOCAL_IP=false", id="none"),
        pytest.param([backend()], "ok", "connected as 'model'", id="connected"),
        pytest.param([backend(state="DI")], "problem", "is disconnected", id="disconnected"),
        pytest.param([backend(state="ER")], "problem", "is in error", id="error"),
        pytest.param([backend("http://h:1")], "warning", "port 9090", id="another port"),
        pytest.param([backend(), backend()], "warning", "1 more", id="second never asked"),
        pytest.param(
            [backend("http://u:hush@h.x:9090")], "ok", "http://h.x:9090 ", id="credentials hidden"
        ),
    ],
)
def test_connection(backends: list[MlBackend], state: str, words: str) -> None:
    assert_found(studio.check_backend(backends, load_settings()), state, words)


@pytest.mark.parametrize(
    ("hooks", "url", "user", "state", "words"),
    [
        pytest.param([webhook()], "http://10.0.0.5:9090/", "", "ok", "is told", id="registered"),
        pytest.param([], "http://10.0.0.5:9090", "", "problem", "SSRF_PROT", id="missing"),
        pytest.param([], "http://backend:9090", "", "problem", "without a dot", id="no dot"),
        pytest.param([], "http://localhost:9090", "", "problem", "SSRF_PROT", id="localhost"),
        pytest.param([], "http://[fd00::1]:9090", "", "problem", "SSRF_PROT", id="IPv6"),
        pytest.param(
            [webhook("http://other.x/webhook")], "http://h.x", "", "problem", "None is", id="other"
        ),
        pytest.param(
            [webhook(is_active=False)], "http://10.0.0.5:9090", "", "problem", "off", id="inactive"
        ),
        pytest.param(
            [webhook()], "http://10.0.0.5:9090", "me", "warning", "no credentials", id="no password"
        ),
        pytest.param(
            [webhook("http://me:pw@10.0.0.5:9090/webhook")],
            "http://me:pw@10.0.0.5:9090",
            "me",
            "ok",
            "http://10.0.0.5:9090/webhook",
            id="password in the address",
        ),
        pytest.param(
            [webhook(all_actions=False, actions=("TASKS_CREATED",))],
            "http://10.0.0.5:9090",
            "",
            "warning",
            "not sent",
            id="other actions",
        ),
    ],
)
def test_webhook(hooks: list[Webhook], url: str, user: str, state: str, words: str) -> None:
    settings = load_settings(basic_auth_user=user, basic_auth_pass="pw" if user else "")
    assert_found(studio.check_webhook(hooks, [backend(url)], settings), state, words)


NOW, BEFORE = "net-2-0123abcd", "net-1-4567cdef"


@pytest.mark.parametrize(
    ("known", "shown", "state", "words"),
    [
        (NOW, NOW, "ok", NOW),
        (NOW, "model", "ok", NOW),
        (BEFORE, "model", "warning", f"knows {BEFORE}, {NOW} would"),
        (NOW, "another", "warning", "Live predictions: choose 'model'"),
        (NOW, BEFORE, "warning", "heads use --project 1 --number 2"),
    ],
)
def test_model_version(known: str, shown: str, state: str, words: str) -> None:
    project = Project(1, "p", CONFIG, shown, 1, False)
    assert_found(studio.check_version(project, [backend(model_version=known)], NOW), state, words)


@pytest.mark.parametrize(
    ("pointed", "head", "state", "words"),
    [
        (NO_HEAD, NO_HEAD, "ok", "No head yet, the zero-shot way predicts; 4 changes"),
        (HeadRef(3), HeadRef(3), "ok", "Head 3, from 20 pictures; 4 changes"),
        (HeadRef(3), NO_HEAD, "warning", "Head 3 was learned on another backbone"),
    ],
    ids=["nothing", "a head", "another backbone"],
)
def test_learned(pointed: HeadRef, head: HeadRef, state: str, words: str) -> None:
    assert_found(own.check_learned(pointed, head, 20, Changes(4, 1.0)), state, words)


@pytest.mark.parametrize(
    ("trainers", "state", "words"),
    [
        ([], "warning", "TRAIN_WORKERS"),
        ([worker(kind="train")], "ok", "1 worker."),
        ([worker(kind="train"), worker("failed", reason="no disk")], "warning", "no disk"),
    ],
    ids=["none", "one", "one of two failed"],
)
def test_trainers(trainers: list[WorkerInfo], state: str, words: str) -> None:
    assert_found(own.check_trainers(trainers), state, words)


@pytest.mark.parametrize(
    ("labels", "state", "words"),
    [
        pytest.param(["Magpie"], "ok", "Magpie = magpie", id="matched"),
        pytest.param(["Gadget"], "ok", "every box gets it", id="one label takes every box"),
        pytest.param(["Magpie", "Gadget"], "warning", "leave boxes unnamed", id="unmatched"),
    ],
)
def test_labels(labels: list[str], state: str, words: str) -> None:
    inner = "".join(f'<Label value="{label}"/>' for label in labels)
    spec = parse_label_config(
        '<View><Image name="i" value="$image"/><RectangleLabels name="b" toName="i">'
        f"{inner}</RectangleLabels></View>"
    )
    (check,) = studio.check_labels(spec, None, imagenet_classes())
    assert_found(check, state, words)


def test_values_need_no_labels() -> None:
    spec = parse_label_config(
        '<View><Image name="i" value="$image"/><Rating name="stars" toName="i"/></View>'
    )
    (check,) = studio.check_labels(spec, None, imagenet_classes())
    assert_found(check, "ok", "accepted values")


@pytest.mark.parametrize(
    ("chosen", "release", "state", "part"),
    [
        ({}, "2026.4.1", "ok", "OpenVINO 2026.4.1"),
        ({}, None, "ok", "is not installed here"),
        ({"runtime": "openvino"}, None, "problem", "pip install openvino"),
        ({"runtime": "torch"}, "2026.4.1", "ok", "torch."),
        ({"device": "cuda"}, "2026.4.1", "ok", "torch."),
    ],
)
def test_runtime(chosen: dict[str, str], release: str | None, state: str, part: str) -> None:
    check = own.check_runtime(load_settings(**chosen), release)
    assert_found(check, state, part)


def test_dynamic_labels_are_those_of_the_task() -> None:
    spec = parse_label_config(
        '<View><Image name="i" value="$image"/>'
        '<RectangleLabels name="b" toName="i" value="$labels"/></View>'
    )
    task = Task(1, {"labels": [{"value": "stingray"}]})
    (check,) = studio.check_labels(spec, task, imagenet_classes())
    assert_found(check, "ok", "stingray = stingray")
    (check,) = studio.check_labels(spec, None, imagenet_classes())
    assert_found(check, "problem", "no label")


def test_running_redis_is_found_only_while_it_runs(tmp_path: Path) -> None:
    assert running_url(tmp_path) is None
    server = EmbeddedRedis(tmp_path)
    url = server.start()
    try:
        assert own.redis_address(load_settings(data_dir=tmp_path)) == running_url(tmp_path) == url
    finally:
        server.stop()
    assert running_url(tmp_path) is None


@pytest.fixture
def label_studio() -> Iterator[LabelStudioStandin]:
    with running() as standin:
        standin.add_project(CONFIG, model_version="model", task_number=1)
        standin.add_tasks([{"image": "/data/upload/1/a.png"}])
        standin.media["/data/upload/1/a.png"] = PICTURE
        standin.backends.append(
            {"id": 1, "project": 1, "url": "http://10.0.0.5:9090", "title": "model", "state": "CO"}
        )
        hook = {"id": 1, "project": 1, "url": "http://10.0.0.5:9090/webhook", "actions": []}
        standin.webhooks.append(hook | {"is_active": True, "send_for_all_actions": True})
        yield standin


def doctor(*arguments: str, code: int, environment: dict[str, str]) -> dict[str, dict[str, str]]:
    done = CliRunner().invoke(app, ["--json", *arguments], env=environment)
    assert done.exit_code == code, done.output
    answer = json.loads(done.stdout)
    assert answer["ok"] is (code == 0)
    return {check["name"]: check for check in answer["checks"]}


@pytest.fixture
def environment(redis_url: str, label_studio: LabelStudioStandin, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATA_DIR": str(tmp_path),
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": LEGACY_KEY,
        "PORT": "9090",
        "BACKBONE": "mobilenet_v2",
    }


def test_whole_way(environment: dict[str, str], connection: redis.Redis) -> None:
    fleet = Fleet(connection)
    fleet.beat(worker())
    fleet.beat(worker(name="t1", kind="train"))
    fleet.publish_identity(BackboneIdentity("mobilenet_v2", "ab12", 224))
    found = doctor("--project", "1", code=0, environment=environment)
    states = {name: check["state"] for name, check in found.items()}
    assert states == {
        **dict.fromkeys(["settings", "runtime", "Redis", "workers", "training", "weights"], "ok"),
        **dict.fromkeys(["Label Studio", "API key", "project 1", "connection", "webhook"], "ok"),
        "labels of box": "warning",
        "picture": "ok",
        "learned": "ok",
        "model version": "warning",
    }
    assert "30x20" in found["picture"]["detail"]
    assert "legacy token of someone@example.com" in found["API key"]["detail"]
    assert "mobilenet_v2-0-" in found["model version"]["detail"]


def test_a_worker_that_trains_predicts_nothing(
    environment: dict[str, str], connection: redis.Redis
) -> None:
    Fleet(connection).beat(worker(kind="train"))
    found = doctor(code=1, environment=environment)
    assert (found["workers"]["state"], found["training"]["state"]) == ("problem", "ok")


def test_without_workers_and_picture_it_goes_on_and_exits_1(
    environment: dict[str, str], label_studio: LabelStudioStandin
) -> None:
    label_studio.media.clear()
    found = doctor("--project", "1", code=1, environment=environment)
    assert {name for name, check in found.items() if check["state"] == "problem"} == {
        "workers",
        "picture",
    }
    assert "404" in found["picture"]["detail"]


def test_refused_key(environment: dict[str, str]) -> None:
    wrong = {**environment, "LABEL_STUDIO_API_KEY": "f" * 40}
    found = doctor("--project", "1", code=1, environment=wrong)
    assert found["API key"]["state"] == "problem"
    assert "key" in found["project 1"]["detail"]
    assert "f" * 40 not in json.dumps(found)


def test_nothing_runs(tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": "", "DATA_DIR": str(tmp_path), "LABEL_STUDIO_URL": "http://127.0.0.1:9"}
    found = doctor(code=1, environment=nowhere)
    assert found["Redis"]["state"] == found["Label Studio"]["state"] == "problem"
    assert "python -m backend up" in found["Redis"]["remedy"]


def test_wrong_settings_are_the_only_finding() -> None:
    found = doctor(code=1, environment={"PORT": "0", "DEVICE": "tpu"})
    assert list(found) == ["settings"]
    assert "PORT" in found["settings"]["detail"]
    assert "DEVICE" in found["settings"]["detail"]


def test_people_read_states_and_remedies(tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": "", "DATA_DIR": str(tmp_path), "LABEL_STUDIO_URL": "http://127.0.0.1:9"}
    done = CliRunner().invoke(app, [], env=nowhere)
    assert done.exit_code == 1
    assert "problem" in done.stdout
    assert "→ Start everything" in done.stdout


def test_warnings_alone_are_healthy() -> None:
    assert healthy([])
    assert healthy([Check("a", "warning", "b", "c"), Check("a", "ok", "b")])
    assert not healthy([Check("a", "problem", "b", "c")])

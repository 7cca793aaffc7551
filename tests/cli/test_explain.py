"""`explain` from beginning to end, on drawn pictures with a random network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
import redis
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from backend.cli import looking
from backend.cli.app import build_app
from backend.errors import ConfigError, LabelConfigInvalid, UnknownName
from backend.store.projects import ProjectStore
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.classes import ClassName
from tests.cli.test_app import run
from tests.vision.conftest import drawn_picture, seeded_backbone, seeded_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two pictures and one that is none; nothing is loaded from disk."""
    for name, size_hw in (("a.png", (60, 90)), ("b.png", (80, 50))):
        rgb_u8 = drawn_picture(size_hw, (10, 10, 40, 40)).rgb_u8
        cv2.imwrite(str(tmp_path / name), rgb_u8[..., ::-1])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(folder: Path, tiny_random: Backbone, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks with a tiny random network; errors are raised as they are."""
    monkeypatch.setattr(looking, "load_backbone", lambda *_: tiny_random)

    def ask(*arguments: str, **env: str) -> Result:
        given = ["explain", *arguments]
        return CliRunner().invoke(build_app(given), given, env=env, catch_exceptions=False)

    return ask


@pytest.fixture(scope="module")
def tiny_random() -> Backbone:
    return seeded_backbone("mobilenet_v2")


@pytest.mark.slow
def test_the_list_is_the_registry_and_nothing_else() -> None:
    told = run("explain", "--list")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == list(saliency.names())


@pytest.mark.slow
def test_a_sheet_from_the_command_line(tmp_path: Path) -> None:
    weights, picture, sheet = (tmp_path / name for name in ("w.safetensors", "p.png", "s.png"))
    tensors = {n: t.contiguous() for n, t in seeded_model("mobilenet_v2").state_dict().items()}
    save_file(tensors, weights)
    cv2.imwrite(str(picture), drawn_picture().rgb_u8[..., ::-1])
    told = run(
        *("explain", str(picture), "--label", "beagle", "--method", "cam,gradcam"),
        *("--out", str(sheet), "--backbone", "mobilenet_v2", "--weights", str(weights)),
        *("--device", "cpu"),
        OMP_NUM_THREADS="1",
    )
    assert told.returncode == 0, told.stderr
    assert re.search(r"'beagle', softmax 0\.\d+ by mobilenet_v2: beagle 1\.00", told.stdout)
    assert "cam | threshold | " in told.stdout
    assert told.stdout.splitlines()[-1] == f"Drawn: {sheet}"
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    # A heading, then for each method two lines of text and panels of 200 pixels.
    assert drawn.shape[0] == 20 + 2 * (2 * 20 + 200 + 6)


def test_json_tells_target_boxes_and_scores_a_method(asked: Any, folder: Path) -> None:
    told = asked("a.png", "b.png", "--label", "orange", "--method", "norm,cam", "--json")
    found = json.loads(told.stdout)
    assert (found["label"], found["by"], found["sheet"]) == (
        "orange", "mobilenet_v2", "a-explained.png",
    )  # fmt: skip
    assert (folder / "a-explained.png").is_file()
    for picture, (width, height) in zip(found["pictures"], ((90, 60), (50, 80)), strict=True):
        assert picture["matched"] is True
        assert picture["classes"] == {"orange": 1.0}
        assert 0 < picture["probability"] < 1
        assert [one["method"] for one in picture["methods"]] == ["norm", "cam"]
        for one in picture["methods"]:
            assert one["box_rule"] == "threshold"
            (box,) = one["boxes"]
            x0, y0, x1, y1 = box["xyxy_px"]
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert 0 < box["score"] <= 1
            assert box["label"] == "orange"


def test_a_label_without_a_class_is_explained_by_what_is_seen(asked: Any) -> None:
    told = asked("a.png", "--label", "dog", "--json")
    (picture,) = json.loads(told.stdout)["pictures"]
    assert picture["matched"] is False
    assert picture["probability"] is None
    assert len(picture["classes"]) == 5
    assert sum(picture["classes"].values()) == pytest.approx(1, abs=1e-3)
    (box,) = picture["methods"][0]["boxes"]
    assert box["label"] == "dog"
    assert "'dog' matches no class of mobilenet_v2" in asked("a.png", "--label", "dog").stdout


def test_what_the_network_calls_a_label(asked: Any) -> None:
    told = asked("a.png", "--label", "dog", "--predicted-values", "beagle, basset", "--json")
    (picture,) = json.loads(told.stdout)["pictures"]
    assert sorted(picture["classes"]) == ["basset", "beagle"]


def test_rule_and_options_change_the_boxes(asked: Any) -> None:
    def box(*more: str) -> list[float]:
        told = asked("a.png", "--label", "orange", "--json", *more)
        (method,) = json.loads(told.stdout)["pictures"][0]["methods"]
        corners: list[float] = method["boxes"][0]["xyxy_px"]
        return corners

    assert box() != box("--set", "threshold=0.8") != box("--box-rule", "multi_level")


def test_all_means_every_method(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saliency, "names", lambda: ("cam", "norm", "rectifiers_needed"))
    given = {name: saliency.get(name) for name in ("cam", "norm")}

    def get(name: str) -> Any:
        if name not in given:
            raise ConfigError("It has no rectifier.", "Choose another backbone.")
        return given[name]

    monkeypatch.setattr(saliency, "get", get)
    told = asked("a.png", "--method", "all", "--json")
    methods = json.loads(told.stdout)["pictures"][0]["methods"]
    assert [one["method"] for one in methods] == ["cam", "norm"]
    assert "rectifiers_needed is left out: It has no rectifier." in told.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["a.png", "--method", "cma"], "named 'cma'", id="method"),
        pytest.param(["a.png", "--method", ","], "No method is named", id="no method"),
        pytest.param(["a.png", "--box-rule", "grab"], "named 'grab'", id="rule"),
        pytest.param(["a.png", "--out", "x.jpg"], "ends in .png", id="no PNG"),
        pytest.param(["a.png", "--out", "no/x.png"], "cannot be written", id="no folder"),
        pytest.param(["a.png", "--set", "threshold"], "no option", id="option without value"),
        pytest.param(["a.png", "--set", "threshold=9"], "from 0.01 to 1", id="value"),
        pytest.param(["no.png"], "no.png cannot be read", id="no file"),
        pytest.param(["broken.png"], "broken.png: ", id="no picture"),
        pytest.param([], "No picture is named", id="nothing"),
        pytest.param(["a.png", "--label", "x", "--units", "y"], "one at a time", id="two"),
        pytest.param(["a.png", "--units", "dog"], "'dog' matches no class", id="units"),
        pytest.param(["--imagine", "dog"], "'dog' matches no class", id="imagine"),
    ],
)
def test_what_is_refused(asked: Any, folder: Path, arguments: list[str], says: str) -> None:
    with pytest.raises((ConfigError, UnknownName, LabelConfigInvalid), match=says):
        asked(*arguments)
    assert not list(folder.glob("*explained*"))


@pytest.mark.slow
def test_a_refusal_ends_with_status_2_and_a_remedy(folder: Path) -> None:
    told = run("explain", str(folder / "broken.png"))
    assert told.returncode == 2
    assert told.stdout == ""
    assert "Traceback" not in told.stderr
    assert "broken.png" in told.stderr


@pytest.mark.slow
def test_units_and_imagined_pictures(asked: Any, folder: Path) -> None:
    told = asked("a.png", "b.png", "--units", "orange", "--out", "u.png", "--json")
    rows = json.loads(told.stdout)["units"]
    assert len(rows) == 6
    assert [row["share"] for row in rows] == sorted((row["share"] for row in rows), reverse=True)
    assert {path for row in rows for path in row["pictures"]} == {"a.png", "b.png"}
    assert cv2.imread(str(folder / "u.png")) is not None
    asked("--imagine", "orange")
    imagined = cv2.imread(str(folder / "orange-explained.png"))
    assert imagined is not None
    assert imagined.shape == (64, 64, 3)
    assert imagined.std() > 1


def test_a_project_s_head_explains_the_labels_it_knows(
    asked: Any, tiny_random: Backbone, redis_url: str, connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ProjectStore(connection).remember_setup("3", label_config="", extra_params={}, hostname="")
    channels = tiny_random.features(torch.zeros((1, 3, 64, 64), dtype=torch.uint8)).cells_bchw
    weight = torch.randn((2, channels.shape[1]), generator=torch.Generator().manual_seed(1))
    learned = tiny_random.classifying(
        weight, torch.zeros(2), (ClassName("", "Spot"), ClassName("", ""))
    )

    def backbone_for(backbone: Backbone, *rest: Any) -> Backbone:
        assert rest[2] == "3"
        return learned if rest[-1] == "Spot" else backbone

    monkeypatch.setattr(looking, "backbone_for", backbone_for)
    given = ["a.png", "--project", "3", "--json", "--label"]
    found = json.loads(asked(*given, "Spot", REDIS_URL=redis_url).stdout)
    assert found["by"] == "the head of project 3"
    assert found["pictures"][0]["classes"] == {"Spot": 1.0}
    other = json.loads(asked(*given, "orange", REDIS_URL=redis_url).stdout)
    assert other["by"] == "mobilenet_v2"
    with pytest.raises(ConfigError, match="Project 4 is not known"):
        asked("a.png", "--project", "4", REDIS_URL=redis_url)

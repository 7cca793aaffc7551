"""Weights come from files that cannot run code, and fit or are refused with a reason."""

from __future__ import annotations

import pickle
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.errors import WeightsUnavailable
from backend.vision.architectures import ARCHITECTURES
from backend.vision.backbones import load_backbone
from backend.vision.weight_files import load_weights, tensors_digest
from tests.vision.conftest import random_images, seeded_model


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return dict(seeded_model("squeezenet1_1").state_dict())


SQUEEZENET = ARCHITECTURES.get("squeezenet1_1")


def test_half_precision_safetensors_become_float32(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.half() for name, tensor in tensors.items()}, path)
    loaded = load_weights(SQUEEZENET, path)
    assert {tensor.dtype for tensor in loaded.tensors.values()} == {torch.float32}
    name = "classifier.1.weight"
    torch.testing.assert_close(loaded.tensors[name], tensors[name].half().float())
    assert len(loaded.digest) == 8
    assert loaded.digest == load_weights(SQUEEZENET, path).digest


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_pth_files_plain_or_wrapped(
    tensors: dict[str, Tensor], tmp_path: Path, wrapper: str | None
) -> None:
    path = tmp_path / "w.pth"
    # Data-parallel training puts "module." before every name.
    content = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, path)
    loaded = load_weights(SQUEEZENET, path)
    assert tensors_digest(loaded.tensors) == tensors_digest(tensors)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("form", ["pickle", "archive"])
def test_a_file_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, suffix: str, form: str
) -> None:
    victim = tmp_path / "ran"
    path = tmp_path / f"w{suffix}"
    attack = {"weights": _Touch(victim)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(attack, protocol=2))
    else:
        torch.save(attack, path)
    with pytest.raises(WeightsUnavailable, match="was refused") as caught:
        load_weights(SQUEEZENET, path)
    assert "state_dict" in caught.value.remedy
    assert not victim.exists()
    # The attack is a real one: unguarded reading runs it.
    if form == "pickle":
        pickle.loads(path.read_bytes())
        assert victim.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"", "cannot be read as safetensors"),
        ("w.safetensors", b"\xff" * 64, "cannot be read as safetensors"),
        ("w.pth", b"", "cannot be read"),
        ("w.pth", b"PK\x03\x04 cut off", "cannot be read"),
        ("w.onnx", b"x", "unknown kind"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match=message) as caught:
        load_weights(SQUEEZENET, path)
    assert "BACKBONE_WEIGHTS" in caught.value.remedy


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [torch.zeros(1)]], ids=str)
def test_a_file_without_named_tensors(tmp_path: Path, content: object) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(WeightsUnavailable, match="no table of named tensors"):
        load_weights(SQUEEZENET, path)


def test_weights_of_another_network_name_the_one_they_fit(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    with pytest.raises(WeightsUnavailable, match=r"do not fit resnet18: .* is missing") as caught:
        load_weights(ARCHITECTURES.get("resnet18"), path)
    assert caught.value.remedy == "It fits BACKBONE=squeezenet1_1."


def test_other_classes_than_imagenets_are_told_by_shape(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_file({**tensors, "classifier.1.bias": torch.zeros(20)}, path)
    with pytest.raises(
        WeightsUnavailable, match=r"classifier.1.bias has shape \(20,\), not \(1000,\)"
    ):
        load_weights(SQUEEZENET, path)


@pytest.mark.slow
def test_training_heads_and_step_counters_may_be_there_or_not(tmp_path: Path) -> None:
    tensors = dict(seeded_model("googlenet").state_dict())
    path = tmp_path / "w.safetensors"
    save_file(
        {
            **{k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")},
            "aux1.fc2.weight": torch.zeros(1000, 1024),
        },
        path,
    )
    loaded = load_weights(ARCHITECTURES.get("googlenet"), path).tensors
    assert loaded.keys() == tensors.keys()


def test_without_a_file_torchvisions_cache_serves(
    tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    torch.save(tensors, cached)
    backbone = load_backbone("squeezenet1_1", None, "cpu", size_px=64)
    assert backbone.identity.digest == tensors_digest(tensors)
    assert backbone.logits(backbone.features(random_images(1))).shape == (1, 1000)


def test_without_a_file_and_without_a_network_both_ways_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its birth
    with pytest.raises(WeightsUnavailable, match=r"download\.pytorch\.org") as caught:
        load_weights(SQUEEZENET, None)
    assert "BACKBONE_WEIGHTS" in caught.value.remedy
    assert "reach that address" in caught.value.remedy

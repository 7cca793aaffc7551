"""A run that begins, is interrupted, goes on, ends and is exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from backend.errors import WeightsUnavailable
from backend.evaluation.distil import checkpoint
from backend.evaluation.distil.card import card_of
from backend.evaluation.distil.export import to_half, write_weights
from backend.evaluation.distil.measure import measure
from backend.evaluation.distil.photos import PhotoPool
from backend.evaluation.distil.student import student_with
from backend.evaluation.distil.trainer import RunOptions, Trainer
from backend.evaluation.distil.views import ViewOptions
from backend.vision.backbones import load_backbone
from backend.vision.torchvision_door import load_torchvision

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = load_torchvision().models.MobileNetV2()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pool() -> PhotoPool:
    rng = torch.Generator().manual_seed(2)
    rgb = torch.randint(0, 256, (4, 3, 64, 64), generator=rng, dtype=torch.uint8)
    box = torch.tensor([[0.2, 0.2, 0.8, 0.8]]).repeat(4, 1)
    return PhotoPool(rgb, torch.arange(4) * 3, box, torch.arange(4) * 3)


def _options(folder: Path, start: str = "random") -> RunOptions:
    return RunOptions(
        folder=folder,
        start=start,
        total_images=24,
        warmup=4,
        prune_batches=1,
        log_every=2,
        views=ViewOptions(sides_px=(96,), canvases=2),
    )


def _trainer(options: RunOptions, teacher: nn.Module, pool: PhotoPool) -> Trainer:
    return Trainer(options, teacher, pool, None, {"small": pool}, teacher_dtype=torch.float32)


def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path, teacher: nn.Module, pool: PhotoPool
) -> None:
    whole = _trainer(_options(tmp_path / "whole"), teacher, pool)
    whole.run()
    broken = _trainer(_options(tmp_path / "broken"), teacher, pool)
    broken.run(stop=lambda: broken.steps >= 3)
    assert broken.images == 12
    resumed = _trainer(_options(tmp_path / "broken"), teacher, pool)
    assert (resumed.steps, resumed.images) == (3, 12)
    resumed.run()
    assert (resumed.steps, resumed.images) == (whole.steps, whole.images) == (6, 24)
    for own, wanted in zip(resumed.student.parameters(), whole.student.parameters(), strict=True):
        assert torch.allclose(own, wanted, atol=1e-4)
    lines = [
        json.loads(line)
        for line in (tmp_path / "broken" / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert set(lines[0]["measured"]["small"]) >= {"agreement_top1", "true_top1"}


def test_a_run_can_be_ended_within_minutes(
    tmp_path: Path, teacher: nn.Module, pool: PhotoPool
) -> None:
    options = replace(_options(tmp_path), total_images=10_000_000)
    first = _trainer(options, teacher, pool)
    first.run(stop=lambda: first.steps >= 2)
    last = _trainer(replace(options, finish_within_min=0.01), teacher, pool)
    last.run(stop=lambda: last.steps >= 500)
    assert last.steps < 500
    assert last.schedule is not None
    assert last.schedule.finished(last.images)


def test_export_is_small_and_loads_back(
    tmp_path: Path, teacher: nn.Module, pool: PhotoPool
) -> None:
    trainer = _trainer(_options(tmp_path, "teacher"), teacher, pool)
    out = tmp_path / "weights" / "small.safetensors"
    state = checkpoint.load(trainer.path)
    content = write_weights(state.average, out)
    assert len(content) <= 6_000_000
    backbone = load_backbone("embedded", out, "cpu", size_px=96)
    loaded = student_with(to_half(state.average))
    before, after = (measure(net, teacher, pool) for net in (trainer.average, loaded))
    assert after.map_cosine == pytest.approx(before.map_cosine, abs=1e-2)
    card = card_of(state, content, out, {"small": after.as_dict()}, data="drawn")
    assert card["digest"] == backbone.identity.digest
    assert card["data"] == "drawn"
    assert "removed" in card["made"]
    assert len(card["architecture"]["inverted_residual_setting"]) == 7
    assert json.loads(json.dumps(card))["training"]["images"] == state.images


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "last.pt"
    damaged.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsUnavailable):
        checkpoint.load(damaged)

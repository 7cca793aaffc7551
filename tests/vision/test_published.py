"""A download that fails, or never ends, and what runs then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch

from backend.errors import WeightsUnavailable
from backend.vision import backbones
from backend.vision.backbones import load_backbone
from backend.vision.published import published_tensors
from backend.vision.torchvision_door import load_torchvision
from tests.vision.conftest import seeded_model

Download = Callable[..., dict[str, torch.Tensor]]
Replace = Callable[[Download], None]


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Puts a function in the place of torchvision's download."""

    def with_function(download: Download) -> None:
        enumeration = load_torchvision().models.WeightsEnum
        monkeypatch.setattr(enumeration, "get_state_dict", lambda _, **options: download(**options))

    return with_function


@pytest.fixture
def never() -> Iterator[Download]:
    """A download that does not come to an end before the test does."""
    over = threading.Event()

    def download(**options: Any) -> dict[str, torch.Tensor]:
        over.wait(60)
        return {}

    yield download
    over.set()


def refused(**options: Any) -> dict[str, torch.Tensor]:
    raise ConnectionRefusedError("nobody listens")


@pytest.mark.parametrize("patience_s", [None, 5.0])
def test_a_download_that_fails_is_told_with_both_ways(
    replace: Replace, patience_s: float | None
) -> None:
    replace(refused)
    with pytest.raises(WeightsUnavailable, match="nobody listens") as caught:
        published_tensors("mobilenet_v2", patience_s)
    assert "BACKBONE_WEIGHTS" in caught.value.remedy


def test_a_download_that_hangs_is_given_up(replace: Replace, never: Download) -> None:
    replace(never)
    began_s = time.monotonic()
    with pytest.raises(WeightsUnavailable, match=r"nothing within 0\.1 s"):
        published_tensors("mobilenet_v2", 0.1)
    assert time.monotonic() - began_s < 5


@pytest.mark.slow
def test_auto_takes_what_can_be_had(replace: Replace) -> None:
    tensors = dict(seeded_model("mobilenet_v2").state_dict())
    replace(lambda **options: tensors)
    backbone = load_backbone("auto", None, "cpu", size_px=64)
    assert (backbone.identity.name, backbone.identity.source) == ("mobilenet_v2", "download")


@pytest.mark.parametrize("how", ["refused", "hangs"])
@pytest.mark.slow
def test_auto_runs_the_embedded_network_else_and_says_so(
    replace: Replace, never: Download, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    replace(refused if how == "refused" else never)
    monkeypatch.setattr(backbones, "PATIENCE_S", 0.1)
    with structlog.testing.capture_logs() as logged:
        backbone = load_backbone("auto", None, "cpu")
    assert (backbone.identity.name, backbone.identity.source) == ("embedded", "embedded")
    by_event = {line["event"]: line for line in logged}
    assert by_event["backbone_replaced"]["log_level"] == "warning"
    assert by_event["backbone_replaced"]["wanted"] == "mobilenet_v2"
    assert by_event["backbone_loaded"]["backbone"] == "embedded"
    assert "BACKBONE_WEIGHTS" in by_event["backbone_could_be_better"]["remedy"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_a_network_that_was_named_is_not_replaced(name: str, replace: Replace) -> None:
    replace(refused)
    with pytest.raises(WeightsUnavailable, match=f"no weights for {name}"):
        load_backbone(name, None, "cpu")


@pytest.mark.slow
def test_a_file_wins_over_everything(replace: Replace, tmp_path: Path) -> None:
    replace(refused)
    path = tmp_path / "w.pth"
    torch.save(seeded_model("mobilenet_v2").state_dict(), path)
    backbone = load_backbone("auto", path, "cpu", size_px=64)
    assert (backbone.identity.name, backbone.identity.source) == ("mobilenet_v2", "file")
    torch.save(seeded_model("squeezenet1_1").state_dict(), path)
    with pytest.raises(WeightsUnavailable, match="do not fit mobilenet_v2"):
        load_backbone("auto", path, "cpu", size_px=64)

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from backend.errors import ShapeError, UnknownName, WeightsUnavailable
from backend.video.classifiers import (
    ARCHITECTURES,
    CLIP_FRAMES,
    VideoClassifier,
    load_video_classifier,
)
from backend.vision.torchvision_door import load_torchvision


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_the_mean_of_a_cube_is_the_score_of_the_whole_network(name: str) -> None:
    torch.manual_seed(0)
    network = load_torchvision().models.get_model(name, weights=None, num_classes=7).eval()
    architecture = ARCHITECTURES.get(name)
    side = architecture.size_px
    clip_u8 = torch.randint(0, 256, (1, CLIP_FRAMES, side, side, 3), dtype=torch.uint8)
    classifier = VideoClassifier(architecture, network, tuple("abcdefg"))
    cells = classifier.cells(clip_u8)
    mean = torch.tensor([0.43216, 0.394666, 0.37645]).view(1, 3, 1, 1, 1)
    std = torch.tensor([0.22803, 0.22145, 0.216989]).view(1, 3, 1, 1, 1)
    with torch.inference_mode():
        whole = network((clip_u8.permute(0, 4, 1, 2, 3) / 255 - mean) / std)
    scores = classifier.scores(cells)
    assert torch.allclose(scores, whole, atol=1e-4)
    for at in (0, 3):
        told = classifier.cube(cells, at).mean((1, 2, 3))
        bias = scores[:, at] - told
        other = classifier.cells(255 - clip_u8)
        assert torch.allclose(
            classifier.scores(other)[:, at] - classifier.cube(other, at).mean((1, 2, 3)),
            bias,
            atol=1e-4,
        )


@pytest.mark.slow
def test_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = load_torchvision().models.get_model("r3d_18", weights=None, num_classes=400)
    path = tmp_path / "own.safetensors"
    save_file(network.state_dict(), path)
    classifier = load_video_classifier("r3d_18", path)
    assert len(classifier.names) == 400
    assert "riding a bike" in classifier.names
    assert torch.equal(classifier._weight, network.fc.weight)


@pytest.mark.slow
def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    save_file({"fc.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(WeightsUnavailable, match="VIDEO_WEIGHTS"):
        load_video_classifier("r3d_18", path)


def test_a_network_whose_score_hangs_on_one_token_is_not_known() -> None:
    with pytest.raises(UnknownName, match="r3d_18"):
        load_video_classifier("mvit_v2_s", None)


def test_clips_of_another_form_are_refused() -> None:
    network = torch.nn.Module()
    network.stem = torch.nn.Identity()
    for at in range(1, 5):
        setattr(network, f"layer{at}", torch.nn.Identity())
    network.fc = torch.nn.Linear(3, 2)
    classifier = VideoClassifier(ARCHITECTURES.get("r3d_18"), network, ("a", "b"))
    with pytest.raises(ShapeError, match="16"):
        classifier.cells(torch.zeros(1, 4, 112, 112, 3, dtype=torch.uint8))

"""Features of pictures: what is kept, and how much of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.domain import Picture
from backend.learning.features import (
    SIZES_PX,
    SMALL_SIZES_PX,
    FeatureCache,
    PictureFeatures,
    extract,
)
from backend.learning.whitening import fit_whitening, grid_side
from backend.vision.backbones import Backbone, backbone_from_tensors
from tests.learning.scenes import features_of


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    from backend.vision.architectures import ARCHITECTURES

    torch.manual_seed(0)
    model = ARCHITECTURES.get("squeezenet1_1").build().to_empty(device="cpu")
    tensors = {
        name: torch.randn_like(value) * (2 / max(value[0].numel(), 1)) ** 0.5
        for name, value in model.state_dict().items()
    }
    return backbone_from_tensors("squeezenet1_1", tensors, size_px=64)


def picture(seed: int, size_hw: tuple[int, int] = (90, 120)) -> Picture:
    random = np.random.RandomState(seed)
    rgb = random.randint(0, 256, (*size_hw, 3)).astype(np.uint8)
    return Picture(rgb, size_hw, f"{seed:08x}")


def sample_features(seed: int = 0) -> PictureFeatures:
    return features_of(
        np.random.RandomState(seed), np.array([[0.1, 0.1, 0.6, 0.6]], np.float32), [0]
    )


@pytest.mark.slow
def test_extract_looks_at_two_sizes_and_mirrors(backbone: Backbone) -> None:
    (found,) = extract(backbone, [picture(1)])
    assert len(found.views) == len(SIZES_PX) == len(SMALL_SIZES_PX)
    assert found.size_hw == (90, 120)
    turned = picture(1)
    turned = Picture(np.ascontiguousarray(turned.rgb_u8[:, ::-1]), turned.size_hw, "turned")
    (mirrored,) = extract(backbone, [picture(1)], mirrored=True)
    (of_turned,) = extract(backbone, [turned])
    assert np.allclose(mirrored.pooled, of_turned.pooled, rtol=0.05, atol=0.05)
    assert extract(backbone, []) == []


def test_bytes_give_the_same_features() -> None:
    features = sample_features()
    again = PictureFeatures.from_bytes(features.to_bytes())
    assert again.size_hw == features.size_hw
    assert np.array_equal(again.pooled, features.pooled)
    for first, second in zip(again.views, features.views, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_cache_returns_what_was_put_and_nothing_else(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 10**8)
    assert cache.get("aa11", "net") is None
    cache.put("aa11", "net", sample_features(), small=True)
    assert cache.get("aa11", "net", small=True) is not None
    assert cache.get("aa11", "net") is None
    assert cache.get("aa11", "net", small=True, mirrored=True) is None
    assert cache.get("aa11", "other", small=True) is None


def test_a_damaged_file_is_forgotten(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 10**8)
    cache.put("aa11", "net", sample_features())
    (path,) = tmp_path.glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert cache.get("aa11", "net") is None
    assert not path.exists()


def test_cache_stays_within_its_bound(tmp_path: Path) -> None:
    size = len(sample_features().to_bytes())
    cache = FeatureCache(tmp_path, 3 * size)
    for number in range(12):
        cache.put(f"{number:04x}", "net", sample_features(number))
    kept = sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors"))
    assert kept <= 3 * size
    assert cache.get("000b", "net") is not None, "the newest stays"
    assert cache.get("0000", "net") is None


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 10**8)
    (tmp_path / "aa").write_text("a file stands where the folder should be")
    cache.put("aa11", "net", sample_features())
    assert cache.get("aa11", "net") is None


def test_whitening_makes_taps_comparable() -> None:
    pictures = [sample_features(seed) for seed in range(6)]
    whitening = fit_whitening(pictures)
    grids = [whitening.grid(taps) for p in pictures for taps in p.views]
    assert {grid.shape[0] for grid in grids} == {grid_side(t) for t in pictures[0].views}
    assert all(grid.shape[2] == whitening.width for grid in grids)
    start = 0
    for projection in whitening.projections:
        part = np.concatenate(
            [
                g[..., start : start + projection.shape[1]].reshape(-1, projection.shape[1])
                for g in grids
            ]
        )
        assert 0.2 < np.square(part).sum(1).mean() < 2, "each tap has a variance of about one"
        start += projection.shape[1]

"""A full disk under the feature cache and under exported heads: nothing half written is read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import structlog

from backend.errors import RequestError
from backend.learning import features
from backend.learning.features import LEFT_FREE_BYTES, FeatureCache, PictureFeatures
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.store.heads import HeadStore
from tests.tiny_disk import fill, tiny_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "disk", 4) as folder:
        yield folder


def of_a_picture(seed: int) -> PictureFeatures:
    """About 100 KiB of features."""
    rng = np.random.default_rng(seed)
    tap = rng.standard_normal((64, 28, 28)).astype(np.float16)
    return PictureFeatures(((tap,),), tap.mean((1, 2)), (100, 90))


def test_the_cache_keeps_what_fits_and_says_that_the_rest_is_not_kept(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "LEFT_FREE_BYTES", 0)
    cache = FeatureCache(disk / "features", 10**9)
    cache.put("aa00", "net", of_a_picture(0))
    fill(disk, leave_bytes=150_000)  # room for one more, and for half of another
    with structlog.testing.capture_logs() as said:
        for number in range(1, 6):
            cache.put(f"aa{number:02d}", "net", of_a_picture(number))
    kept = [n for n in range(6) if cache.get(f"aa{n:02d}", "net") is not None]
    assert kept == [0, 1]
    for number in kept:
        found = cache.get(f"aa{number:02d}", "net")
        assert found is not None
        assert np.array_equal(found.views[0][0], of_a_picture(number).views[0][0])
    assert len(list((disk / "features").rglob("*.*"))) == 2, "no part of a file is left"
    told = [line for line in said if line["event"] == "features_not_kept"]
    assert len(told) == 1, "once in a while, not for every picture"
    assert told[0]["reason"].startswith("No space left on device")
    assert told[0]["folder"] == str(disk / "features")
    (disk / "ballast").unlink()
    cache.put("aa05", "net", of_a_picture(5))
    assert cache.get("aa05", "net") is not None


def test_the_cache_is_never_what_fills_a_disk(disk: Path) -> None:
    assert shutil.disk_usage(disk).total < LEFT_FREE_BYTES
    cache = FeatureCache(disk / "features", 10**9)
    cache.put("aa00", "net", of_a_picture(0))
    assert cache.get("aa00", "net") is None
    assert not list((disk / "features").rglob("*.*"))


def test_the_cache_starts_on_a_full_disk(disk: Path) -> None:
    fill(disk)
    cache = FeatureCache(disk / "features", 10**9)
    assert cache.get("aa00", "net") is None
    cache.put("aa00", "net", of_a_picture(0))
    assert cache.get("aa00", "net") is None


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    size = len(of_a_picture(0).to_bytes())
    cache = FeatureCache(tmp_path, 3 * size)
    (tmp_path / "aa").mkdir()
    left = tmp_path / "aa" / "aa99-net-normal.4711.part"
    left.write_bytes(bytes(size))
    for number in range(12):
        cache.put(f"aa{number:02d}", "net", of_a_picture(number))
    assert not left.exists()


def test_an_export_is_whole_or_not_there(disk: Path, connection: redis.Redis) -> None:
    versions = HeadVersions(HeadStore(connection, most=5))
    meta = VersionMeta(5.5, "net", "beef", ("cat",), 3)
    versions.publish("1", Learned(bytes(300_000), meta, {}), instead_of=0)
    fill(disk, leave_bytes=100_000)
    with pytest.raises(RequestError, match="No space left"):
        versions.export("1", 1, disk / "exported")
    assert list((disk / "exported").iterdir()) == []
    (disk / "ballast").unlink()
    tensors, _ = versions.export("1", 1, disk / "exported")
    fill(disk, leave_bytes=100_000)
    before = tensors.read_bytes()
    with pytest.raises(RequestError, match="No space left"):
        versions.export("1", 1, disk / "exported")
    assert tensors.read_bytes() == before, "an earlier export stays whole"
    assert versions.import_("1", tensors) == 2

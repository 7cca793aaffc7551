"""Versions on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from backend.errors import RequestError, UnknownName
from backend.learning.promote import Counts
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.store.heads import NO_HEAD, HeadStore


@pytest.fixture
def versions(connection: redis.Redis) -> HeadVersions:
    return HeadVersions(HeadStore(connection, most=3))


def learned(content: bytes = b"\x00tensors", labels: tuple[str, ...] = ("cat",)) -> Learned:
    meta = VersionMeta(
        created_at_s=5.5, backbone_name="resnet18", backbone_digest="beef", labels=labels,
        pictures=2, task_ids=(4, 7), metrics={"f1_50": 0.75}, settings={"a": [1]}, verdict="new",
    )  # fmt: skip
    return Learned(content, meta, {"hash": ("digest", Counts(1, 2, 3, 4, 5, 6))})


def publish(versions: HeadVersions, count: int) -> list[int]:
    return [
        versions.publish("1", learned(bytes([i])), instead_of=versions.current("1").number)
        for i in range(count)
    ]


def test_nothing_is_published(versions: HeadVersions) -> None:
    assert versions.current("1") == NO_HEAD
    assert versions.refs("1") == []
    assert versions.metas("1") == {}
    assert versions.pictures("1", 1) == {}
    with pytest.raises(UnknownName):
        versions.content("1", 1)


def test_a_version_comes_back_as_it_was(versions: HeadVersions) -> None:
    kept = learned()
    assert versions.publish("1.17952", kept, instead_of=0) == 1
    assert versions.content("1", 1) == kept.content
    assert versions.metas("1") == {1: kept.meta}
    assert versions.pictures("1", 1) == kept.pictures
    ref = versions.current("1")
    assert (ref.number, ref.backbone_digest) == (1, "beef")
    assert versions.current("2") == NO_HEAD


def test_publishing_needs_the_head_that_it_was_judged_against(versions: HeadVersions) -> None:
    publish(versions, 2)
    assert versions.publish("1", learned(), instead_of=1) == 0
    assert versions.current("1").number == 2
    assert list(versions.metas("1")) == [2, 1]


def test_back_and_forth(versions: HeadVersions) -> None:
    publish(versions, 2)
    two = versions.current("1")
    versions.use("1", 1)
    assert versions.current("1").number == 1
    versions.use("1", 0)
    assert versions.current("1") == NO_HEAD
    versions.use("1", 2)
    assert versions.current("1") == two
    with pytest.raises(UnknownName, match="There is no head of project 1 named '9'"):
        versions.use("1", 9)
    assert versions.current("1") == two


def test_the_oldest_go_but_never_the_one_in_use(
    versions: HeadVersions, connection: redis.Redis
) -> None:
    publish(versions, 3)
    versions.use("1", 1)
    for _ in range(2):
        versions.import_("1", versions.export("1", 1, _folder(connection))[0])
    assert list(versions.metas("1")) == [5, 4, 1]
    assert [ref.number for ref in versions.refs("1")] == [5, 4, 1]
    assert versions.content("1", 1) == b"\x00"
    with pytest.raises(UnknownName):
        versions.content("1", 2)
    assert versions.publish("1", learned(), instead_of=1) == 6, "numbers are never used twice"


def _folder(connection: redis.Redis) -> Path:
    socket = connection.connection_pool.connection_kwargs["path"]
    return Path(str(socket)).parent / "exported"


def test_export_and_import(versions: HeadVersions, tmp_path: Path) -> None:
    publish(versions, 1)
    tensors, described = versions.export("1", 1, tmp_path / "new" / "folder")
    assert tensors.name == "head-1.safetensors"
    assert described.name == "head-1.json"
    assert versions.import_("2", tensors) == 1
    assert versions.current("2") == NO_HEAD, "not used before somebody says so"
    assert versions.content("2", 1) == versions.content("1", 1)
    assert versions.metas("2") == versions.metas("1")
    assert versions.pictures("2", 1) == versions.pictures("1", 1)
    versions.use("2", 1)
    assert versions.current("2") == versions.current("1")


@pytest.mark.parametrize(
    "harm", ["no json", "not json", "no digest", "list", "other tensors", "other schema"]
)
def test_files_that_do_not_belong_together_are_refused(
    versions: HeadVersions, tmp_path: Path, harm: str
) -> None:
    publish(versions, 1)
    tensors, described = versions.export("1", 1, tmp_path)
    if harm == "no json":
        described.unlink()
    elif harm == "not json":
        described.write_text("{")
    elif harm == "no digest":
        described.write_text("{}")
    elif harm == "list":
        described.write_text("[]")
    elif harm == "other tensors":
        tensors.write_bytes(b"other")
    else:
        described.write_text(described.read_text().replace('"schema": 1', '"schema": 9'))
    told = r"its \.json has no 'digest'" if harm == "no digest" else str(tensors)
    with pytest.raises(RequestError, match=told) as caught:
        versions.import_("1", tensors)
    assert caught.value.remedy
    assert list(versions.metas("1")) == [1]


def test_a_folder_that_cannot_be_written_is_told(versions: HeadVersions, tmp_path: Path) -> None:
    publish(versions, 1)
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be exported to"):
        versions.export("1", 1, tmp_path / "file")

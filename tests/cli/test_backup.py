"""`backup` and `restore`: a round trip over real Redis servers, and files that are refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from typer.testing import CliRunner, Result

from backend.cli.app import build_app
from backend.domain import BackboneIdentity
from backend.errors import ConfigError, RequestError, StoreUnavailable
from backend.jobs.learner import HeadShelf
from backend.labelstudio.events import parse_event
from backend.labelstudio.ranges import NumberRange
from backend.learning.ledger import Ledger
from backend.learning.project_head import ProjectHead
from backend.learning.promote import Counts
from backend.learning.regression import Line, Measure, NumberHead
from backend.learning.versions import HeadVersions, Learned, VersionMeta
from backend.server.app import create_app
from backend.settings import Settings, load_settings
from backend.store import keys, snapshots
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from backend.store.snapshots import ProjectSnapshot, Restoration, read_project
from tests.learning.test_ledger import deleted, region, saved
from tests.server.conftest import LABEL_CONFIG, serving

IDENTITY = BackboneIdentity("mobilenet_v2", "beef", 224)


@pytest.fixture
def filled(connection: redis.Redis) -> redis.Redis:
    """Project 3 with two heads, the older one in use, and a ledger; project 8 with nothing."""
    fill(connection, "3", heads=2)
    HeadVersions(HeadStore(connection, most=5)).use("3", 1)
    ProjectStore(connection).remember_setup(
        "8", label_config="<View/>", extra_params={}, hostname=""
    )
    return connection


@pytest.fixture
def other_url(tmp_path: Path) -> Iterator[str]:
    """Another Redis, an empty one."""
    with EmbeddedRedis(tmp_path / "other") as url:
        yield url


@pytest.fixture
def file(redis_url: str, filled: redis.Redis, tmp_path: Path) -> Path:
    """A backup of all."""
    path = tmp_path / "all.zip"
    run(redis_url, "backup", str(path))
    return path


def fill(connection: redis.Redis, project: str, heads: int) -> None:
    ProjectStore(connection).remember_setup(
        project, label_config=LABEL_CONFIG, extra_params={"a": "ü"}, hostname="http://ls:8080"
    )
    versions = HeadVersions(HeadStore(connection, most=5))
    for number in range(heads):
        meta = VersionMeta(5.5, "mobilenet_v2", "beef", ("Raccoon",), 3, (1, 2), {"f1_50": 0.5})
        pictures = {f"hash {number}": ("digest", Counts(1, 2, 3, 4, 5, 6))}
        versions.publish(project, Learned(head(number), meta, pictures), instead_of=number)
    ledger = Ledger(LedgerStore(connection))
    for event in (
        saved(1, 1, [region()]),
        saved(2, 2, [region()], task=2),
        saved(5, 3),
        deleted(5),
    ):
        ledger.apply(parse_event(event | {"project": {"id": int(project)}}))
    ledger.store.remember_hashes(project, {"/1.png": "hash 1"})
    ledger.store.remember_synced(project, "2 2 now")


def head(seed: int) -> bytes:
    """A small real head."""
    line = Line(np.full(4, seed, np.float32), 3.0, 1.0, 5.0)
    number = NumberHead(Measure("stars", NumberRange(1.0, 5.0, 1.0)), line, np.zeros(1, np.float32))
    return ProjectHead(None, (), False, (number,)).to_bytes()


def run(redis_url: str, *arguments: str) -> Result:
    told = CliRunner().invoke(
        build_app(arguments), list(arguments), env={"REDIS_URL": redis_url}, catch_exceptions=False
    )
    assert told.exit_code == 0
    return told


def everything(connection: redis.Redis) -> dict[str, Any]:
    """Every key with its value and whether it ends, but for locks and scripts."""
    found: dict[str, Any] = {}
    read: dict[bytes, Callable[[Any], Any]] = {
        b"string": connection.get,
        b"hash": connection.hgetall,
        b"set": connection.smembers,
        b"zset": lambda name: connection.zrange(name, 0, -1, withscores=True),
    }
    for name in connection.scan_iter():
        kind: Any = connection.type(name)
        found[name.decode()] = (read[kind](name), connection.ttl(name))
    return found


def test_all_comes_back_in_another_redis(
    redis_url: str, filled: redis.Redis, other_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "all.zip"
    told = run(redis_url, "backup", str(path)).stdout
    assert f"{path}: projects 2, heads 2, annotations in ledgers 2, " in told
    assert path.stat().st_mode & 0o077 == 0, "addresses in it may be signed"
    assert list(tmp_path.glob(".*")) == []
    told = run(other_url, "restore", str(path)).stdout
    assert "Restored: projects 2, heads 2, annotations in ledgers 2." in told
    assert "python -m backend sync --project 3" in told
    expected = everything(filled)
    # The sync after a restore shall read everything.
    assert expected.pop(keys.ledger_synced())
    with connect(other_url) as other:
        assert everything(other) == expected
        assert {ttl for _, ttl in everything(other).values()} == {-1}


def test_what_came_back_is_worked_on_like_before(
    file: Path, other_url: str, settings: Callable[..., Settings]
) -> None:
    run(other_url, "restore", str(file))
    with connect(other_url) as other:
        versions = HeadVersions(HeadStore(other, most=5))
        ledger = Ledger(LedgerStore(other))
        assert versions.current("3").number == 1
        assert versions.content("3", 2) == head(1)
        assert versions.pictures("3", 1) == {"hash 0": ("digest", Counts(1, 2, 3, 4, 5, 6))}
        assert [entry.annotation_id for entry in ledger.entries("3")] == [1, 2]
        assert ledger.store.changed_projects() == ["3"]
        late = parse_event(saved(5, 9, [region()]))
        assert ledger.apply(late) == 0, "what was deleted before the backup stays so"
        learned = Learned(head(7), VersionMeta(1.0, "m", "beef", (), 1), {})
        assert versions.publish("3", learned, instead_of=1) == 3, "no number comes twice"


def test_a_server_answers_with_the_restored_head(
    redis_url: str, file: Path, filled: redis.Redis, other_url: str, tmp_path: Path
) -> None:
    def version(url: str) -> str:
        with connect(url) as connection:
            Fleet(connection).publish_identity(IDENTITY)
        settings = load_settings(redis_url=url, data_dir=tmp_path, backbone="mobilenet_v2")
        with serving(create_app(settings)) as base:
            call = {"project": "3.5", "schema": LABEL_CONFIG, "hostname": "http://ls:8080"}
            reply = httpx.post(f"{base}/setup", json=call)
        return str(reply.json()["model_version"])

    assert version(other_url).startswith("mobilenet_v2-0-"), "the other one has learned nothing"
    with connect(other_url) as other:
        other.flushall()
    run(other_url, "restore", str(file))
    assert version(other_url) == version(redis_url)
    assert version(other_url).startswith("mobilenet_v2-1-")


def test_one_project_alone(
    redis_url: str, filled: redis.Redis, other_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "one.zip"
    told = json.loads(run(redis_url, "backup", str(path), "--project", "8", "--json").stdout)
    assert (told["projects"], told["heads"], told["bytes"]) == (1, 0, path.stat().st_size)
    told = json.loads(run(other_url, "restore", str(path), "--json").stdout)
    assert (told["projects"], told["annotations"]) == (1, 0)
    with connect(other_url) as other:
        assert ProjectStore(other).all_ids() == ["8"]


def test_an_unknown_project_and_a_file_that_is_there_are_refused(
    redis_url: str, filled: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "kept.zip"
    with pytest.raises(ConfigError, match=r"Project 4 is not known here.*Known: 3, 8"):
        run(redis_url, "backup", str(path), "--project", "4")
    path.write_bytes(b"of yesterday")
    with pytest.raises(RequestError, match="is there already"):
        run(redis_url, "backup", str(path))
    assert path.read_bytes() == b"of yesterday"
    with pytest.raises(RequestError, match="cannot be written"):
        run(redis_url, "backup", str(tmp_path / "no" / "folder.zip"))


def test_a_project_that_is_there_is_replaced_only_when_asked(
    redis_url: str, file: Path, filled: redis.Redis, other_url: str
) -> None:
    with connect(other_url) as other:
        fill(other, "3", heads=4)
        fill(other, "9", heads=1)
        before = everything(other)
        with pytest.raises(RequestError, match="project 3 is there already") as caught:
            run(other_url, "restore", str(file))
        assert "--force" in caught.value.remedy
        assert everything(other) == before, "project 8, which was free, is not there either"
        run(other_url, "restore", str(file), "--force")
        assert read_project(other, "3") == read_project(filled, "3")
        assert other.exists(keys.head("3", 4)) == 0, "heads that the file lacks are gone"
        assert LedgerStore(other).synced_state("3") == ""
        assert LedgerStore(other).synced_state("9") == "2 2 now"
        assert ProjectStore(other).all_ids() == ["3", "8", "9"]
        assert {
            name: value for name, value in everything(other).items() if name.endswith(":9")
        } == {name: value for name, value in before.items() if name.endswith(":9")}


def test_a_worker_does_not_take_the_replaced_head_for_the_restored_one(
    file: Path, other_url: str
) -> None:
    with connect(other_url) as other:
        fill(other, "3", heads=1)
        versions = HeadVersions(HeadStore(other, most=5))
        versions.publish("3", Learned(head(9), VersionMeta(1.0, "m", "f", (), 1), {}), instead_of=1)
        shelf = HeadShelf(versions, ProjectHead.from_bytes)
        assert shelf.get("3", 2).to_bytes() == head(9)
        run(other_url, "restore", str(file), "--force")
        assert shelf.get("3", 2).to_bytes() == head(1)


def test_twice_is_once(redis_url: str, file: Path, filled: redis.Redis) -> None:
    filled.hdel(keys.ledger_synced(), "3")
    before = everything(filled)
    run(redis_url, "restore", str(file), "--force")
    assert everything(filled) == before


def test_a_project_without_setup_or_heads(
    redis_url: str, connection: redis.Redis, other_url: str, tmp_path: Path
) -> None:
    Ledger(LedgerStore(connection)).apply(parse_event(saved(1, 1, [region()])))
    path = tmp_path / "ledger.zip"
    run(redis_url, "backup", str(path))
    run(other_url, "restore", str(path))
    with connect(other_url) as other:
        assert read_project(other, "3") == read_project(connection, "3")
        assert ProjectStore(other).all_ids() == []


def test_nothing_at_all_is_a_backup_too(
    redis_url: str, connection: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "empty.zip"
    run(redis_url, "backup", str(path))
    before = everything(connection)
    assert "projects 0" in run(redis_url, "restore", str(path)).stdout
    assert everything(connection) == before


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], *, signed: bool) -> Path:
    """A copy with other entries; signed: their sums in the manifest are made right again."""
    with zipfile.ZipFile(path) as before:
        entries = {name: before.read(name) for name in before.namelist()}
    change(entries)
    if signed:
        manifest = json.loads(entries.pop("manifest.json"))
        manifest["entries"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in entries.items()
        }
        entries["manifest.json"] = json.dumps(manifest).encode()
    copy = path.with_name("changed.zip")
    with zipfile.ZipFile(copy, "w") as after:
        for name, content in entries.items():
            after.writestr(name, content)
    return copy


def _json_changed(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(entries: dict[str, bytes]) -> None:
        record = json.loads(entries[name])
        change(record)
        entries[name] = json.dumps(record).encode()

    return apply


def _set(entries: dict[str, bytes], name: str, content: bytes) -> None:
    entries[name] = content


def _record(text: str) -> Callable[[dict[str, bytes]], None]:
    return _json_changed(LEDGER, lambda r: r["hashes"]["records"].update({"9": text}))


LEDGER, PROJECT = "projects/3/ledger.json", "projects/3/project.json"
HEAD = "projects/3/head-2.safetensors"


@pytest.mark.parametrize(
    ("change", "signed", "why"),
    [
        (lambda e: _set(e, HEAD, e[HEAD][:-1] + b"?"), False, "is not what was written"),
        (lambda e: _set(e, HEAD, e[HEAD][:-1]), False, "bytes instead of"),
        (lambda e: _set(e, HEAD, e[HEAD][:-1] + b"?"), True, "is not the head"),
        (lambda e: e.pop(HEAD), False, "other entries than its manifest"),
        (lambda e: _set(e, "../../etc/passwd", b"x"), False, "other entries than its manifest"),
        (lambda e: e.pop("manifest.json"), False, "manifest.json"),
        (lambda e: _set(e, "manifest.json", b"[" * 100_000), False, "cannot be restored"),
        (lambda e: _set(e, "manifest.json", b"{}"), False, "entries' is missing"),
        (lambda e: _set(e, LEDGER, b"{"), True, "cannot be restored"),
        (_record("gibberish"), True, "cannot be restored"),
        (_record("o 1 1 2.0 {}"), True, "'result' is missing"),
        (_json_changed(LEDGER, lambda r: r.update(gone={"a5": "soon"})), True, "soon"),
        (_json_changed(PROJECT, lambda r: r.update(current=7)), True, "uses head 7"),
        (_json_changed(PROJECT, lambda r: r.pop("setup")), True, "'setup' is missing"),
        (_json_changed("manifest.json", lambda r: r.update(format="1")), False, "no format"),
        (_json_changed("manifest.json", lambda r: r.update(projects=["3.5"])), False, "names proj"),
    ],
    ids=["a bit", "cut", "another head", "an entry less", "an entry more", "no manifest",
         "deep manifest", "empty manifest", "no JSON", "an unreadable record",
         "an incomplete record", "a time that is none", "a head that is missing",
         "a missing field", "no format", "ids"],
)  # fmt: skip
def test_a_broken_file_restores_nothing(
    file: Path, other_url: str, change: Callable[[dict[str, bytes]], None], signed: bool, why: str
) -> None:
    broken = rewritten(file, change, signed=signed)
    with connect(other_url) as other:
        before = everything(other)
        with pytest.raises(RequestError, match=why):
            run(other_url, "restore", str(broken), "--force")
        assert everything(other) == before


def test_a_head_that_is_no_head_restores_nothing(
    connection: redis.Redis, redis_url: str, other_url: str, tmp_path: Path
) -> None:
    versions = HeadVersions(HeadStore(connection, most=5))
    learned = Learned(b"\x80\x04cos\nsystem\n", VersionMeta(1.0, "m", "beef", (), 1), {})
    versions.publish("3", learned, instead_of=0)
    path = tmp_path / "no-head.zip"
    run(redis_url, "backup", str(path))
    with pytest.raises(RequestError, match="This is not a head"):
        run(other_url, "restore", str(path))
    with connect(other_url) as other:
        assert list(everything(other)) == [keys.SCHEMA_KEY]


@pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
def test_a_file_cut_short_restores_nothing(file: Path, other_url: str, at: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * at)])
    with pytest.raises(RequestError, match="cannot be restored"):
        run(other_url, "restore", str(file))


def test_a_later_format_is_refused_with_the_release(file: Path, other_url: str) -> None:
    later = rewritten(
        file,
        _json_changed("manifest.json", lambda r: r.update(format=2, release="9.9")),
        signed=False,
    )
    with pytest.raises(RequestError, match=r"format 2, this version reads up to 1.*9\.9"):
        run(other_url, "restore", str(later))


def test_killed_before_the_end_nothing_has_changed(
    file: Path, other_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        """Stands for the end of the process at this point."""

    def killed(*_: Any, **__: Any) -> list[str]:
        raise Killed

    monkeypatch.setattr("backend.store.snapshots.Restoration.publish", killed)
    monkeypatch.setattr("backend.store.snapshots.Restoration.clear", lambda self: None)
    with connect(other_url) as other:
        with pytest.raises(Killed):
            run(other_url, "restore", str(file))
        left = {name: ttl for name, (_, ttl) in everything(other).items()}
        left.pop(keys.SCHEMA_KEY)
        assert left, "it was laid down"
        assert all(name.startswith(keys.restoring()) for name in left)
        assert all(0 < ttl <= 3600 for ttl in left.values()), "and goes away by itself"
        assert ProjectStore(other).all_ids() == []


def test_what_was_laid_down_too_long_ago_is_not_half_restored(
    redis_url: str, filled: redis.Redis, other_url: str
) -> None:
    with connect(other_url) as other:
        restoring = Restoration(other)
        restoring.stage(read_project(filled, "3"))
        found: Any = other.keys(f"{keys.restoring()}*")
        other.delete(found[0])
        with pytest.raises(redis.ResponseError, match="for too long"):
            restoring.publish(replace=True)
        restoring.clear()
        assert list(everything(other)) == [keys.SCHEMA_KEY]


def test_a_store_of_another_schema_is_not_written_to(file: Path, other_url: str) -> None:
    with redis.Redis.from_url(other_url) as other:
        other.set(keys.SCHEMA_KEY, "7")
        with pytest.raises(StoreUnavailable, match="schema 7"):
            run(other_url, "restore", str(file))
        assert list(everything(other)) == [keys.SCHEMA_KEY]


def test_a_backup_beside_trainings_is_of_one_moment(
    redis_url: str, filled: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head is published between the look for heads and the reading of them."""
    asked = snapshots._ask
    versions = HeadVersions(HeadStore(filled, most=2))
    meta = VersionMeta(1.0, "mobilenet_v2", "beef", (), 1)

    def ask(pipe: Any, project_id: str, numbers: Any) -> None:
        if versions.refs("3")[0].number == 2:
            versions.publish("3", Learned(head(9), meta, {}), instead_of=1)
        asked(pipe, project_id, numbers)

    monkeypatch.setattr(snapshots, "_ask", ask)
    found: ProjectSnapshot = read_project(filled, "3")
    assert found.current == 3
    assert found.current in {one.ref.number for one in found.heads}

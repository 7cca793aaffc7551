"""backend.media.local: nothing outside the folder, nothing but files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.errors import MediaForbidden, MediaTooLarge
from backend.media.local import read_local


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a é.png").write_bytes(b"a")
    (folder / "empty").touch()
    (folder / "within").symlink_to(folder / "sub" / "a é.png")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "secret").write_bytes(b"secret")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "outdir").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ("empty", b""),
        ("sub/a é.png", b"a"),
        ("./sub//a é.png", b"a"),
        ("within", b"a"),
        ("nothing", None),
        ("sub/a é.png/more", None),
    ],
)
def test_read(root: Path, relative: str, expected: bytes | None) -> None:
    assert read_local(root, relative, 10) == expected


def test_root_that_is_not_on_this_machine(tmp_path: Path) -> None:
    assert read_local(tmp_path / "elsewhere", "a.png", 10) is None


@pytest.mark.parametrize(
    "relative",
    [
        "../secret", "sub/../../secret", "../root-beside/secret", "/etc/passwd", "a\x00b", "out",
        "outdir/secret", "loop", "fifo", "sub", ".", "", "x" * 300,
    ],
)  # fmt: skip
def test_refused(root: Path, relative: str) -> None:
    with pytest.raises(MediaForbidden):
        read_local(root, relative, 10)


def test_root_may_itself_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert read_local(link, "within", 10) == b"a"


def test_device_is_refused(root: Path) -> None:
    with pytest.raises(MediaForbidden, match="regular file"):
        read_local(Path("/dev"), "null", 10)


def test_size_limit(root: Path) -> None:
    (root / "ten").write_bytes(bytes(10))
    assert read_local(root, "ten", 10) == bytes(10)
    with pytest.raises(MediaTooLarge, match="9 bytes"):
        read_local(root, "ten", 9)

"""Videos fetched to disk: once, bounded, not taken away from who reads them."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.errors import (
    MediaForbidden,
    MediaMissing,
    MediaTooLarge,
    MediaUnreachable,
    MediaUnreadable,
)
from backend.media.fetch import MediaFetcher
from backend.media.video_files import FetchedVideos, Sink, video_in
from backend.settings import Settings
from tests.media.servers import in_turn, reply, site

FILM = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40

Make = Callable[..., MediaFetcher]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[MediaFetcher] = []

    def build(url: str, **settings: Any) -> MediaFetcher:
        usual: dict[str, Any] = {"label_studio_url": url, "media_retries": 0}
        chosen = Settings(**(usual | {"data_dir": tmp_path / "data"} | settings))
        made.append(MediaFetcher(chosen, None, pause=lambda seconds: None))
        return made[-1]

    yield build
    for fetcher in made:
        fetcher.close()


def fetched(fetcher: MediaFetcher, address: str) -> bytes:
    with fetcher.video(address, 1) as video:
        return video.path.read_bytes()


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def test_a_video_is_fetched_once_and_named_by_its_content(make: Make) -> None:
    with site(reply(body=FILM)) as ls:
        fetcher = make(ls.url)
        for _ in range(2):
            with fetcher.video("/data/upload/1/a.mp4", 1, 7) as video:
                assert video.path.read_bytes() == FILM
                assert video.content_hash == digest(FILM)
        assert len(ls.seen) == 1
        with fetcher.video("/data/upload/1/a.mp4", 1, 8):
            assert len(ls.seen) == 2, "what one project may see is not another's"


def test_a_broken_transfer_is_begun_anew(make: Make, tmp_path: Path) -> None:
    def cut(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(FILM)))
        handler.end_headers()
        handler.wfile.write(FILM[:4000])
        handler.close_connection = True

    with site(in_turn(cut, reply(503), reply(body=FILM))) as ls:
        assert fetched(make(ls.url, media_retries=2), "/data/upload/a.mp4") == FILM
    with site(cut) as broken:
        fetcher = make(broken.url, data_dir=tmp_path / "other")
        with pytest.raises(MediaUnreachable):
            fetched(fetcher, "/data/upload/a.mp4")
    left = [path.suffix for path in (tmp_path / "other" / "videos").iterdir()]
    assert left == [".lock"], "nothing half is kept"


def test_limits_and_refusals_are_those_of_pictures(make: Make) -> None:
    address = "/data/upload/a.mp4"
    with site(reply(body=FILM)) as ls:
        with pytest.raises(MediaTooLarge, match="MAX_VIDEO_BYTES"):
            fetched(make(ls.url, video_bytes=len(FILM) - 1), address)
        whole = fetched(make(ls.url, media_bytes=100), address)
        assert whole == FILM, "MAX_MEDIA_BYTES is for pictures"
        with pytest.raises(MediaForbidden):
            fetched(make("http://label-studio.example"), f"{ls.url}/a.mp4")
    with site(reply(404)) as ls, pytest.raises(MediaMissing):
        fetched(make(ls.url), "/data/upload/gone.mp4")


def test_a_local_file_stays_in_its_place(make: Make, tmp_path: Path) -> None:
    root = tmp_path / "films"
    root.mkdir()
    (root / "a.mp4").write_bytes(FILM)
    address = "/data/local-files/?d=a.mp4"
    with site(reply(body=b"served")) as ls:
        fetcher = make(ls.url, local_files_root=root)
        with fetcher.video(address, 1) as video:
            assert video.path == root / "a.mp4"
            assert video.content_hash == digest(FILM)
        (root / "a.mp4").write_bytes(FILM + b"more")
        with fetcher.video(address, 1) as video:
            assert video.content_hash == digest(FILM + b"more")
        small = make(ls.url, local_files_root=root, video_bytes=9)
        with pytest.raises(MediaTooLarge):
            fetched(small, address)
        (root / "out.mp4").symlink_to("/etc/hostname")
        with pytest.raises(MediaForbidden):
            fetched(fetcher, "/data/local-files/?d=out.mp4")
        assert ls.seen == []
        assert fetched(fetcher, "/data/local-files/?d=elsewhere.mp4") == b"served"


def test_the_longest_unused_goes_first_but_not_from_under_a_reader(tmp_path: Path) -> None:
    folder = FetchedVideos(tmp_path, 250)

    def fetch(sink: Sink) -> None:
        sink.write(b"x" * 100)

    with folder.lent("read", fetch) as read:
        for name in ("old", "older"):
            with folder.lent(name, fetch) as other:
                os.utime(other.path, (time.time() - 60,) * 2)
        assert read.path.exists()
        os.utime(read.path, (0, 0))
        with folder.lent("new", fetch):
            assert read.path.exists(), "the oldest, but somebody reads it"
            assert len(list(tmp_path.glob("*-*"))) == 2
    with folder.lent("newer", fetch):
        assert not read.path.exists()


def test_what_cannot_be_read_is_fetched_anew(tmp_path: Path) -> None:
    folder, contents = FetchedVideos(tmp_path, 1000), [b"broken", b"mended"]

    def fetch(sink: Sink) -> None:
        sink.write(contents.pop(0))

    with pytest.raises(MediaUnreadable), folder.lent("a", fetch):
        raise MediaUnreadable("No frame can be decoded.", "")
    with folder.lent("a", fetch) as video:
        assert video.path.read_bytes() == b"mended"


def test_a_full_disk_keeps_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))

    def fetch(sink: Sink) -> None:
        sink.write(b"x")

    lent = FetchedVideos(tmp_path, 100).lent("a", fetch)
    with pytest.raises(MediaTooLarge, match="VIDEO_CACHE_BYTES"):
        lent.__enter__()
    assert not list(tmp_path.glob("*-*"))


def test_several_readers_wait_for_one_fetch(tmp_path: Path) -> None:
    asked: list[str] = []
    go = threading.Event()

    def fetch(sink: Sink) -> None:
        asked.append("once")
        go.wait(30)
        sink.write(FILM)

    def read(_number: int) -> bytes:
        with FetchedVideos(tmp_path, 1 << 20).lent("a", fetch) as video:
            return video.path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        read_by = [pool.submit(read, number) for number in range(4)]
        while not asked:
            time.sleep(0.01)
        go.set()
        assert [one.result(30) for one in read_by] == [FILM] * 4
    assert asked == ["once"]


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = video_in(path).content_hash
    path.write_bytes(b"other")
    assert first == digest(b"one") != video_in(path).content_hash

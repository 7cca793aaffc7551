"""Pictures to measure speed with: any number of different files with the same pixels."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from backend.errors import ImageSetInvalid
from backend.evaluation.drawn import write_pictures
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.speed_pictures import SIDE_PX, jpeg_files, marked
from backend.media.decode import decode_picture

MOST = 1_000_000


def test_drawn_pictures_are_as_large_as_they_say() -> None:
    pictures = [decode_picture(one, max_pixels=MOST) for one in jpeg_files(None, 4)]
    assert {max(one.size_hw) for one in pictures} == {SIDE_PX}
    assert len({one.size_hw for one in pictures}) == 4


def test_a_mark_makes_another_file_of_the_same_pixels() -> None:
    (file,) = jpeg_files(None, 1)
    plain, one, other = (
        decode_picture(content, max_pixels=MOST)
        for content in (file, marked(file, "1/a.jpg"), marked(file, "2/a.jpg"))
    )
    assert len({plain.content_hash, one.content_hash, other.content_hash}) == 3
    np.testing.assert_array_equal(plain.rgb_u8, one.rgb_u8)
    np.testing.assert_array_equal(plain.rgb_u8, other.rgb_u8)


def test_files_are_taken_evenly_from_a_folder_and_those_below(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "below", 6)
    (tmp_path / "below" / "notes.txt").write_text("no picture")
    assert jpeg_files(tmp_path, 3) == tuple(paths[at].read_bytes() for at in (0, 2, 4))
    assert len(jpeg_files(tmp_path, 100)) == 6


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSetInvalid, match=r"no \.jpg"):
        jpeg_files(tmp_path, 3)


def test_what_is_no_jpeg_is_refused() -> None:
    with pytest.raises(ImageSetInvalid, match="is none"):
        marked(b"\x89PNG", "1")


def test_the_server_gives_the_files_in_turn_and_never_the_same_bytes() -> None:
    files = jpeg_files(None, 2)
    with PictureServer(files) as server, httpx.Client(trust_env=False) as client:
        got = [client.get(address) for address in server.addresses("one", 3)]
        other = client.get(server.addresses("other", 1)[0]).content
        assert client.get(f"http://{server.host}/one/x.jpg").status_code == 404
    sizes = [decode_picture(one, max_pixels=MOST).size_hw for one in files]
    assert [decode_picture(one.content, max_pixels=MOST).size_hw for one in got] == [
        sizes[0],
        sizes[1],
        sizes[0],
    ]
    assert len({*(one.content for one in got), other}) == 4

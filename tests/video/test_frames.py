from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import MediaTooLarge, MediaUnreadable
from backend.media.video_header import sniff_video
from backend.video.frames import Clip, read_clip, read_frames
from tests.video.drawn import FPS, HW, path_of, write_film

PIXELS = 10**7


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", [path_of(n) for n in range(40)])


def test_a_clip_tells_of_itself(film: Path) -> None:
    clip = read_clip(film, max_pixels=PIXELS)
    assert clip == Clip(HW, FPS, 40)
    assert clip.duration_s == pytest.approx(1.6)


def test_frames_come_in_order_with_their_times(film: Path) -> None:
    clip = read_clip(film, max_pixels=PIXELS)
    found = list(read_frames(film, clip, lambda number: number % 10 == 0))
    assert [one.number for one in found] == list(range(40))
    assert [one.time_s for one in found] == pytest.approx([n / FPS for n in range(40)])
    assert [one.number for one in found if one.rgb_u8 is not None] == [0, 10, 20, 30]
    colour = found[10].rgb_u8
    assert colour is not None
    assert colour.shape == (*HW, 3)
    assert found[11].grey_hw.shape == HW


def test_grey_frames_are_thinned_and_wanted_ones_kept(film: Path) -> None:
    clip = read_clip(film, max_pixels=PIXELS)
    found = read_frames(film, clip, lambda number: number == 7, grey_every=4, last=12)
    assert [one.number for one in found] == [0, 4, 7, 8, 12]


def test_a_part_is_the_same_as_in_the_whole(film: Path) -> None:
    clip = read_clip(film, max_pixels=PIXELS)
    whole = {one.number: one for one in read_frames(film, clip, lambda number: False)}
    part = list(read_frames(film, clip, lambda number: False, first=17, last=23))
    assert [one.number for one in part] == list(range(17, 24))
    for one in part:
        assert np.array_equal(one.grey_hw, whole[one.number].grey_hw)
        assert one.time_s == whole[one.number].time_s


def test_large_frames_are_followed_on_small_grey_ones(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "large.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (1280, 720))
    writer.write(np.full((720, 1280, 3), 90, np.uint8))
    writer.release()
    clip = read_clip(path, max_pixels=PIXELS)
    (frame,) = read_frames(path, clip, lambda number: True)
    assert frame.grey_hw.shape == (180, 320)
    assert clip.grey_scale == pytest.approx(0.25)
    assert frame.rgb_u8 is not None
    assert frame.rgb_u8.shape == (720, 1280, 3)


def test_frames_beyond_the_limit_are_refused(film: Path) -> None:
    with pytest.raises(MediaTooLarge, match="240 x 180"):
        read_clip(film, max_pixels=100)


@pytest.mark.parametrize("kept", [0, 100, 2000])
def test_a_file_cut_short_is_refused_in_words(film: Path, tmp_path: Path, kept: int) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:kept])
    with pytest.raises(MediaUnreadable) as told:
        read_clip(broken, max_pixels=PIXELS)
    assert "ffmpeg -i" in told.value.remedy


def test_an_unknown_codec_is_named(film: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.mp4"
    strange.write_bytes(film.read_bytes().replace(b"mp4v", b"zq9x").replace(b"esds", b"zsds"))
    with pytest.raises(MediaUnreadable, match="codec"):
        read_clip(strange, max_pixels=PIXELS)


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        b"\xff\xd8\xff\xe0 a photo",
    ],
)
def test_what_names_other_files_is_not_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadable, match="no video"):
        read_clip(path, max_pixels=PIXELS)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x20ftypisom", "MP4 or MOV"),
        (b"\x1aE\xdf\xa3....", "WebM or Matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WEBPVP8 ", None),
        (b"OggS\0", "Ogg"),
        (b"\0\0\x01\xba", "MPEG"),
        ((b"\x47" + bytes(187)) * 3, "MPEG transport stream"),
        (b"G", None),
        (b"", None),
    ],
)
def test_containers_by_their_first_bytes(start: bytes, name: str | None) -> None:
    assert sniff_video(start) == name

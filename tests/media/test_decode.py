"""backend.media.decode: upright RGB, or a typed error."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from hashlib import blake2b

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain import Picture
from backend.errors import MediaError, MediaTooLarge, MediaUnreadable
from backend.media.decode import decode_picture
from tests.media.pictures import (
    cells,
    encode,
    exif,
    jpeg_with,
    png_chunk,
    png_with,
    read_cells,
    tiff,
    webp_with_exif,
)

STORED = [[1, 2, 3], [4, 5, 6]]
PICTURE = cells(STORED)
JPEG = encode(".jpg", PICTURE)
PNG = encode(".png", PICTURE)
EXTENSIONS = (".jpg", ".png", ".gif", ".webp", ".bmp", ".tiff")

# How the stored picture is to be shown (Exif 2.32, table 4, tag 0x0112).
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


def decode(encoded: bytes, wanted_side_px: int | None = None) -> Picture:
    return decode_picture(encoded, max_pixels=1_000_000, wanted_side_px=wanted_side_px)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    encoded = {
        "JPEG": jpeg_with(JPEG, b"Exif\0\0" + exif(orientation)),
        "PNG": png_with(PNG, b"eXIf", exif(orientation)),
        "TIFF": tiff(PICTURE[..., 0], orientation),
    }[kind]
    picture = decode(encoded)
    assert read_cells(picture.rgb_u8) == UPRIGHT[orientation]
    assert picture.size_hw == picture.rgb_u8.shape[:2]
    assert picture.rgb_u8.flags.c_contiguous


def test_webp_is_shown_as_stored_like_in_the_browser() -> None:
    encoded = webp_with_exif(encode(".webp", PICTURE, 64, 101), (32, 48), exif(6))
    assert read_cells(decode(encoded).rgb_u8) == STORED


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (5, 1), (37, 50), (50, 8000)])
def test_formats_sizes_and_channel_order(extension: str, size_hw: tuple[int, int]) -> None:
    bgr = np.full((*size_hw, 3), (20, 100, 220), np.uint8)
    picture = decode(encode(extension, bgr))
    assert picture.size_hw == size_hw
    assert picture.rgb_u8.shape == (*size_hw, 3)
    # Lossy formats and GIF's dithered palette come near; exact ones are checked below.
    middle = np.median(picture.rgb_u8.reshape(-1, 3), axis=0)
    assert np.abs(middle - (220, 100, 20)).max() <= 32


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_exact_formats_come_back_exactly(extension: str) -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    np.testing.assert_array_equal(decode(encode(extension, bgr)).rgb_u8, bgr[..., ::-1])


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tiff", ".bmp"])
def test_gray(extension: str) -> None:
    picture = decode(encode(extension, PICTURE[..., 0]))
    assert read_cells(picture.rgb_u8) == STORED
    assert np.ptp(picture.rgb_u8, axis=2).max() == 0


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bits_keep_their_upper_byte(extension: str) -> None:
    bgr = np.array([[[0x00FF, 0x0100, 0xFFFF]]], np.uint16)
    assert decode(encode(extension, bgr)).rgb_u8.tolist() == [[[255, 1, 0]]]
    gray = np.array([[0x12FF]], np.uint16)
    assert decode(encode(extension, gray)).rgb_u8.tolist() == [[[0x12] * 3]]


@pytest.mark.parametrize("extension", [".png", ".tiff", ".webp"])
def test_transparency_is_laid_on_white(extension: str) -> None:
    lossless = (64, 101) if extension == ".webp" else ()
    # Blue, opaque; black, transparent; and red at 102/255 = 0.4:
    # 0.4 * 250 + 0.6 * 255 = 253, 0.4 * 0 + 0.6 * 255 = 153.
    bgra = np.array([[[250, 0, 0, 255], [0, 0, 0, 0], [0, 0, 250, 102]]], np.uint8)
    expected = [[[0, 0, 250], [255, 255, 255], [253, 153, 153]]]
    assert decode(encode(extension, bgra, *lossless)).rgb_u8.tolist() == expected


def png_of(color_type: int, rows: bytes, *chunks: bytes, size: tuple[int, int] = (2, 1)) -> bytes:
    """An 8 bit PNG; size is width and height."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, color_type, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + png_chunk(b"IEND", b"")


def test_palette_with_transparent_entry_and_gray_with_alpha() -> None:
    palette = png_chunk(b"PLTE", bytes((10, 20, 30, 40, 50, 60))), png_chunk(b"tRNS", b"\xff\x00")
    assert decode(png_of(3, b"\0\0\1", *palette)).rgb_u8.tolist() == [[[10, 20, 30], [255] * 3]]
    assert decode(png_of(4, b"\0\x64\xff\0\0")).rgb_u8.tolist() == [[[100] * 3, [255] * 3]]


def test_animation_gives_its_first_frame() -> None:
    frames = [np.full((8, 8, 4), (*level, 255), np.uint8) for level in ((0, 0, 255), (255, 0, 0))]
    animation = cv2.Animation()
    animation.frames = frames
    animation.durations = [100, 100]
    for extension in (".webp", ".gif", ".png"):
        done, encoded = cv2.imencodeanimation(extension, animation)
        assert done
        red, green, blue = decode(bytes(encoded)).rgb_u8[4, 4].tolist()
        assert (red > 200, green < 60, blue < 60) == (True, True, True), extension


@pytest.mark.parametrize(
    ("wanted", "side"),
    [(None, (101, 163)), (101, (101, 163)), (51, (101, 163)), (50, (51, 82)), (25, (26, 41)),
     (13, (26, 41)), (12, (13, 21)), (1, (13, 21))],
)  # fmt: skip
def test_large_jpegs_are_decoded_small_enough_but_never_too_small(
    wanted: int | None, side: tuple[int, int]
) -> None:
    picture = decode(encode(".jpg", np.zeros((101, 163, 3), np.uint8)), wanted)
    assert picture.rgb_u8.shape[:2] == side
    assert picture.size_hw == (101, 163)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_decode_is_upright_too(orientation: int) -> None:
    large = np.kron(PICTURE, np.ones((2, 2, 1), np.uint8))
    encoded = jpeg_with(encode(".jpg", large), b"Exif\0\0" + exif(orientation))
    picture = decode(encoded, wanted_side_px=32)
    assert read_cells(picture.rgb_u8) == UPRIGHT[orientation]
    assert picture.size_hw == ((64, 96) if orientation < 5 else (96, 64))


def test_only_jpegs_are_reduced() -> None:
    assert decode(PNG, wanted_side_px=4).rgb_u8.shape == (32, 48, 3)


def test_hash_names_the_encoded_bytes() -> None:
    assert decode(PNG).content_hash == blake2b(PNG, digest_size=16).hexdigest()
    assert decode(PNG).content_hash != decode(png_with(PNG, b"tEXt", b"a\0b")).content_hash


def test_pixel_limit_is_checked_by_the_header_before_decoding() -> None:
    assert decode_picture(PNG, max_pixels=32 * 48).size_hw == (32, 48)
    with pytest.raises(MediaTooLarge, match="48x32 = 1536 pixels, more than 1535"):
        decode_picture(PNG, max_pixels=32 * 48 - 1)
    giant = PNG[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + PNG[24:]
    with pytest.raises(MediaTooLarge, match="MAX_MEDIA_PIXELS"):
        decode(giant)


def test_side_beyond_the_decoders_limit_is_told_as_such() -> None:
    strip = png_of(0, bytes(1_000_002), size=(1_000_001, 1))
    with pytest.raises(MediaTooLarge, match="side longer than 1000000"):
        decode_picture(strip, max_pixels=10**8)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_cut_files_are_refused(extension: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    encoded = encode(extension, noise)
    with pytest.raises(MediaUnreadable):
        decode(encoded[: int(len(encoded) * kept)])


def test_bytes_after_the_end_do_no_harm() -> None:
    assert read_cells(decode(JPEG + b"more").rgb_u8) == STORED


def test_float_samples_are_explained() -> None:
    encoded = encode(".tiff", np.zeros((4, 4), np.float32))
    with pytest.raises(MediaUnreadable, match="float32 samples"):
        decode(encoded)


def test_header_that_lies_about_the_size_is_refused() -> None:
    with pytest.raises(MediaUnreadable):
        decode(tiff(PICTURE[..., 0], claimed_hw=(320, 48)))


def test_opencvs_own_limit_is_told_as_such() -> None:
    script = (
        "import sys; from backend.media.decode import decode_picture\n"
        "from backend.errors import MediaTooLarge\n"
        "try: decode_picture(sys.stdin.buffer.read(), max_pixels=10**6)\n"
        "except MediaTooLarge as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=JPEG,
        capture_output=True,
        env={**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": "100"},
        check=True,
    )
    assert b"Unset OPENCV_IO_MAX_IMAGE_PIXELS" in done.stdout
    assert done.stderr == b""


SEEDS = [encode(extension, PICTURE) for extension in EXTENSIONS] + [
    jpeg_with(JPEG, b"Exif\0\0" + exif(6)),
    png_with(PNG, b"eXIf", exif(6)),
    webp_with_exif(encode(".webp", PICTURE, 64, 101), (32, 48), exif(6)),
    tiff(PICTURE[..., 0], 6),
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
)
def test_damaged_files_give_a_picture_or_a_typed_error(
    seed: bytes, changes: list[tuple[int, int]], kept: int
) -> None:
    damaged = bytearray(seed[: kept or None])
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value
    try:
        picture = decode(bytes(damaged), wanted_side_px=8)
    except MediaError as error:
        assert error.what and error.remedy  # noqa: PT017, PT018 - either outcome is right
    else:
        assert picture.rgb_u8.shape[2] == 3
        assert picture.size_hw[0] * picture.size_hw[1] <= 1_000_000


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"]),
    st.binary(max_size=300),
)
def test_random_bytes_give_a_typed_error(start: bytes, rest: bytes) -> None:
    with pytest.raises(MediaError):
        decode(start + rest)

"""backend.media.header: format, size and orientation before decoding."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from backend.errors import MediaUnreadable
from backend.media.header import MOST_SCANS, Header, read_header, sniff
from tests.media.pictures import (
    cells,
    encode,
    exif,
    jpeg_with,
    png_with,
    tiff,
    webp_with_exif,
)

PICTURE = cells([[1, 2, 3], [4, 5, 6]])  # 32 high, 48 wide
HW = (32, 48)
JPEG = encode(".jpg", PICTURE)
PNG = encode(".png", PICTURE)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        pytest.param(JPEG, Header("JPEG", HW), id="JPEG"),
        pytest.param(encode(".jpg", PICTURE, 2, 1), Header("JPEG", HW), id="progressive JPEG"),
        pytest.param(PNG, Header("PNG", HW), id="PNG"),
        pytest.param(encode(".gif", PICTURE), Header("GIF", HW), id="GIF"),
        pytest.param(encode(".bmp", PICTURE), Header("BMP", HW), id="BMP"),
        pytest.param(encode(".tiff", PICTURE), Header("TIFF", HW), id="TIFF"),
        pytest.param(tiff(PICTURE[..., 0], 8), Header("TIFF", (48, 32)), id="TIFF, turned"),
        pytest.param(encode(".webp", PICTURE, 64, 80), Header("WebP", HW), id="WebP, lossy"),
        pytest.param(encode(".webp", PICTURE, 64, 101), Header("WebP", HW), id="WebP, lossless"),
        pytest.param(
            webp_with_exif(encode(".webp", PICTURE, 64, 101), HW, exif(6)),
            Header("WebP", HW),
            id="WebP, extended",
        ),
        pytest.param(
            b"BM" + bytes(12) + struct.pack("<Iii", 40, 7, -9), Header("BMP", (9, 7)), id="BMP, top"
        ),
        pytest.param(
            b"BM" + bytes(12) + struct.pack("<IHH", 12, 7, 9), Header("BMP", (9, 7)), id="BMP, old"
        ),
        pytest.param(
            jpeg_with(JPEG, b"Exif\0\0" + exif(6)), Header("JPEG", HW, 6), id="JPEG, turned"
        ),
        pytest.param(
            jpeg_with(JPEG, b"Exif\0\0" + exif(8, ">", 4)),
            Header("JPEG", HW, 8),
            id="JPEG, MM long",
        ),
        pytest.param(
            # A thumbnail of another size inside a segment is not the picture.
            jpeg_with(JPEG, b"JFXX\0" + encode(".jpg", PICTURE[:8, :8]), 0xE0),
            Header("JPEG", HW),
            id="JPEG, thumbnail",
        ),
        pytest.param(png_with(PNG, b"eXIf", exif(3)), Header("PNG", HW, 3), id="PNG, turned"),
    ],
)
def test_header(encoded: bytes, expected: Header) -> None:
    assert read_header(encoded) == expected


@pytest.mark.parametrize(
    "block",
    [b"", b"II", b"II*\0\xff\xff\xff\xff", b"XX*\0" + bytes(20), exif(0), exif(9), exif(6)[:12]],
)
def test_broken_exif_means_upright(block: bytes) -> None:
    assert read_header(jpeg_with(JPEG, b"Exif\0\0" + block)) == Header("JPEG", HW, 1)


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"\x00", "unknown format", id="one byte"),
        pytest.param(b"<?xml version='1.0'?><svg/>", "SVG drawing", id="svg"),
        pytest.param(b"<!DOCTYPE html><p>", "web page", id="html"),
        pytest.param(b'{"detail": "no"}', "JSON", id="json"),
        pytest.param(b"%PDF-1.7", "PDF", id="pdf"),
        pytest.param(b"\0\0\0\x20ftypavif", "AVIF or HEIF", id="avif"),
        pytest.param(b"\0\0\0\x20ftypisom", "video", id="mp4"),
        pytest.param(b"BMW is a car", "unknown format", id="text that begins like a BMP"),
    ],
)
def test_other_files_are_named(encoded: bytes, words: str) -> None:
    assert sniff(encoded) is None
    with pytest.raises(MediaUnreadable, match=words) as caught:
        read_header(encoded)
    assert "JPEG, PNG, GIF, WebP, BMP or TIFF" in caught.value.remedy


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(PNG[:20], id="PNG, cut"),
        pytest.param(PNG[:16] + bytes(8) + PNG[24:], id="PNG, 0x0"),
        pytest.param(JPEG[:4], id="JPEG, cut"),
        pytest.param(b"\xff\xd8\xff\xd9", id="JPEG, nothing in it"),
        pytest.param(b"\xff\xd8\xff" * 9, id="JPEG, fill bytes"),
        pytest.param(b"GIF89a\x01", id="GIF, cut"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8X", id="WebP, cut"),
        pytest.param(b"RIFF\0\0\0\0WEBPICCP" + bytes(40), id="WebP, odd chunk"),
        pytest.param(b"II*\x00\xff\xff\xff\xff", id="TIFF, far away"),
        pytest.param(tiff(np.zeros((2, 2), np.uint8), claimed_hw=(0, 2)), id="TIFF, no height"),
        pytest.param(b"BM" + bytes(12) + struct.pack("<Iii", 40, -7, 9), id="BMP, negative width"),
    ],
)
def test_broken_headers(encoded: bytes) -> None:
    with pytest.raises(MediaUnreadable, match="damaged"):
        read_header(encoded)


def test_two_sizes_are_refused() -> None:
    frame = JPEG[JPEG.index(b"\xff\xc0") + 4 :][:15]
    with pytest.raises(MediaUnreadable, match="size twice"):
        read_header(jpeg_with(JPEG, frame, 0xC0))


def test_scans_are_bounded() -> None:
    progressive = encode(".jpg", PICTURE, 2, 1)
    read_header(progressive)
    with pytest.raises(MediaUnreadable, match="scans"):
        read_header(progressive + b"\xff\xda" * MOST_SCANS)

"""What the first bytes of a picture file say: format, size, orientation.

Read before anything is decoded, so that a small file that unpacks to gigabytes is refused
for its header. Sources: ITU T.81 annex B (JPEG), PNG third edition, GIF89a, RFC 9649
(WebP), TIFF 6.0, Exif 2.32, BITMAPINFOHEADER.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from backend.errors import MediaUnreadable

FORMATS = ("JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF")

MOST_SCANS = 200
"""Scans of a progressive JPEG; a camera writes about ten, each costs a pass over all pixels."""

MOST_PARTS = 20_000
"""Segments of a JPEG before its pixels, or chunks of a PNG: 64 MiB need 1000 and 8200."""

_ORIENTATION_TAG = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document"),
    (b"II+\x00", "a BigTIFF picture"),
    (b"MM\x00+", "a BigTIFF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture file claims to be.

    format: one of FORMATS. size_hw: stored height and width in pixels, before orientation.
    orientation: Exif value 1..8 that is still to be applied to the decoded pixels.
    """

    format: str
    size_hw: tuple[int, int]
    orientation: int = 1

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width after orientation; values 5 to 8 lie on their side."""
        height, width = self.size_hw
        return (width, height) if self.orientation >= 5 else (height, width)


def sniff(encoded: bytes) -> str | None:
    """The format that the first bytes announce, None if it is none of FORMATS."""
    if encoded[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if encoded[:8] == _PNG:
        return "PNG"
    if encoded[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WebP"
    # "BM" alone is too common a beginning of texts; the size of the info header follows.
    if encoded[:2] == b"BM" and encoded[14:18] in _BMP_HEADER_SIZES:
        return "BMP"
    if encoded[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    return None


def read_header(encoded: bytes) -> Header:
    """Format, stored size and orientation of an encoded picture.

    Raises: MediaUnreadable, saying what the bytes are instead and which formats work.
    """
    kind = sniff(encoded)
    if kind is None:
        raise MediaUnreadable(
            f"The file is {_other(encoded)}, not a picture that can be read.",
            f"Use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
        )
    try:
        header = _READERS[kind](encoded)
    except (struct.error, IndexError):
        raise broken(kind, "its header is cut short") from None
    if min(header.size_hw) < 1:
        raise broken(kind, "its header gives no size")
    return header


def broken(kind: str, why: str) -> MediaUnreadable:
    """The error of a file that is a picture by its first bytes alone."""
    return MediaUnreadable(
        f"The {kind} picture is damaged: {why}.",
        "Open it in an image viewer and save it again, or remove the task.",
    )


def _other(encoded: bytes) -> str:
    if not encoded:
        return "empty"
    for magic, name in _OTHERS:
        if encoded.startswith(magic):
            return name
    if encoded[4:8] == b"ftyp":
        brand = encoded[8:12]
        return "an AVIF or HEIF picture" if brand[:2] in (b"av", b"he", b"mi") else "a video"
    start = encoded[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in encoded[:4096].lower():
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<?xml", b"<")):
        return "an XML text"
    if start.startswith((b"{", b"[")):
        return "a JSON text"
    return "of an unknown format"


def _jpeg(encoded: bytes) -> Header:
    orientation = 1
    size_hw: tuple[int, int] | None = None
    progressive = False
    at = 2
    parts = 0
    while True:
        at = encoded.find(b"\xff", at)
        if at < 0:
            raise IndexError
        if (parts := parts + 1) > MOST_PARTS:
            raise broken("JPEG", f"more than {MOST_PARTS} segments stand before its pixels")
        marker = encoded[at + 1]
        if marker in (0x00, 0xFF):  # stuffing and fill bytes
            at += 1
            continue
        at += 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            continue
        if marker in (0xDA, 0xD9):
            break
        (length,) = struct.unpack_from(">H", encoded, at)
        if marker == 0xE1 and encoded[at + 2 : at + 8] == b"Exif\x00\x00":
            orientation = _tiff_orientation(encoded[at + 8 : at + length])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if size_hw is not None:
                raise broken("JPEG", "it announces its size twice")
            height, width = struct.unpack_from(">HH", encoded, at + 3)
            size_hw, progressive = (height, width), marker in (0xC2, 0xC6, 0xCA, 0xCE)
        at += max(length, 2)
    if size_hw is None:
        raise broken("JPEG", "no size stands before its pixels")
    if progressive and encoded.count(b"\xff\xda") > MOST_SCANS:
        raise broken("JPEG", f"it has more than {MOST_SCANS} scans")
    return Header("JPEG", size_hw, orientation)


def _png(encoded: bytes) -> Header:
    if encoded[12:16] != b"IHDR":
        raise broken("PNG", "it does not begin with its header")
    width, height = struct.unpack_from(">II", encoded, 16)
    orientation = 1
    at = 8
    parts = 0
    while at + 8 <= len(encoded):
        if (parts := parts + 1) > MOST_PARTS:
            raise broken("PNG", f"it has more than {MOST_PARTS} chunks")
        length, name = struct.unpack_from(">I4s", encoded, at)
        if name == b"eXIf":
            orientation = _tiff_orientation(encoded[at + 8 : at + 8 + length])
        if name in (b"eXIf", b"IEND"):
            break
        at += 12 + length
    return Header("PNG", (height, width), orientation)


def _gif(encoded: bytes) -> Header:
    width, height = struct.unpack_from("<HH", encoded, 6)
    return Header("GIF", (height, width))


def _webp(encoded: bytes) -> Header:
    """Size from the first chunk.

    An orientation in its Exif chunk is left alone: Chromium 156 draws WebP pictures as stored
    (JPEG and PNG upright), and boxes belong where annotators see them.
    """
    chunk = encoded[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(_exactly(encoded, 24, 3), "little") + 1
        height = int.from_bytes(_exactly(encoded, 27, 3), "little") + 1
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        raw_width, raw_height = struct.unpack_from("<HH", encoded, 26)
        width, height = raw_width & 0x3FFF, raw_height & 0x3FFF
    else:
        raise broken("WebP", "its first chunk is unknown")
    return Header("WebP", (height, width))


def _exactly(encoded: bytes, at: int, count: int) -> bytes:
    part = encoded[at : at + count]
    if len(part) < count:
        raise IndexError
    return part


_BMP_HEADER_SIZES = frozenset(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))


def _bmp(encoded: bytes) -> Header:
    (info_size,) = struct.unpack_from("<I", encoded, 14)
    width, height = struct.unpack_from("<HH" if info_size == 12 else "<ii", encoded, 18)
    return Header("BMP", (abs(height), width))  # a negative height means rows from the top


def _tiff(encoded: bytes) -> Header:
    """Size of the first page.

    Its orientation is left to the decoder: OpenCV applies that of TIFF whatever it is asked,
    so the size is turned here as well.
    """
    sizes: dict[int, int] = {}
    orientation = 1
    for tag, value in _ifd(encoded):
        if tag in (256, 257):
            if tag in sizes:
                raise broken("TIFF", "it announces its size twice")
            if value is None:  # a decoder may read what we cannot
                raise broken("TIFF", "it announces its size in an unusual form")
            sizes[tag] = value
        elif tag == _ORIENTATION_TAG and value is not None:
            orientation = value
    width, height = sizes.get(256, 0), sizes.get(257, 0)
    return Header("TIFF", (width, height) if 5 <= orientation <= 8 else (height, width))


def _tiff_orientation(block: bytes) -> int:
    """Orientation of an Exif block; 1 where it is missing, broken or out of range."""
    try:
        found = [value for tag, value in _ifd(block) if tag == _ORIENTATION_TAG and value]
    except struct.error:
        return 1
    return found[0] if found and found[0] <= 8 else 1


def _ifd(block: bytes) -> Iterator[tuple[int, int | None]]:
    """Tags of the first directory with their 16- or 32-bit number, None where it is no such."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for entry in range(count):
        at = start + 2 + 12 * entry
        tag, kind, values = struct.unpack_from(f"{order}HHI", block, at)
        if values == 1 and kind in (3, 4):
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", block, at + 8)
            yield tag, value
        else:
            yield tag, None


_READERS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WebP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
}

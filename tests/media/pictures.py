"""Small encoded pictures with known pixels."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np

from backend.domain import U8Array

CELL_PX = 16


def cells(rows: list[list[int]]) -> U8Array:
    """(16 h, 16 w, 3) gray picture; cell k has level 40 k."""
    levels = np.array(rows, np.uint8) * 40
    gray = np.kron(levels, np.ones((CELL_PX, CELL_PX), np.uint8))
    return np.repeat(gray[..., None], 3, axis=2)


def read_cells(rgb_u8: U8Array) -> list[list[int]]:
    """The numbers that ``cells`` drew, robust against lossy coding."""
    middle = rgb_u8[CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX, 0].astype(int)
    return [[(value + 20) // 40 for value in row] for row in middle.tolist()]


def encode(extension: str, bgr: Any, *parameters: int) -> bytes:
    done, encoded = cv2.imencode(extension, bgr, list(parameters))
    assert done
    return bytes(encoded)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF structure with the orientation alone. kind: 3 short, 4 long."""
    value = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *((orientation, 0)[: 5 - kind]))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 1)
    return head + struct.pack(f"{order}HHI", 0x0112, kind, 1) + value + bytes(4)


def jpeg_with(encoded: bytes, segment: bytes, marker: int = 0xE1) -> bytes:
    """The JPEG with a segment put in front."""
    return (
        encoded[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(segment) + 2) + segment
        + encoded[2:]
    )  # fmt: skip


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png_with(encoded: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with a chunk behind its header."""
    return encoded[:33] + png_chunk(name, content) + encoded[33:]


def webp_with_exif(encoded: bytes, size_hw: tuple[int, int], block: bytes) -> bytes:
    """A WebP of one chunk as an extended one with an Exif chunk (RFC 9649)."""
    height, width = size_hw
    header = bytes((0x08, 0, 0, 0))
    header += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + header + encoded[12:]
    body += b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def tiff(gray: U8Array, orientation: int = 1, claimed_hw: tuple[int, int] | None = None) -> bytes:
    """An uncompressed gray TIFF of one strip."""
    height, width = claimed_hw or gray.shape[:2]
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0),
        (274, 3, orientation), (277, 3, 1), (278, 4, height), (279, 4, gray.size),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    directory = b"".join(
        struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value)
        for tag, kind, value in tags
    )
    head = b"II*\x00" + struct.pack("<IH", 8, len(tags))
    return head + directory + bytes(4) + gray.tobytes()

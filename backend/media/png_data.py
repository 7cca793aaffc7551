"""PNG data that unpack to more than the picture they belong to.

libpng decodes the picture and then unpacks what is left, only to drop it: 64 MiB of zeros
packed a thousand to one keep a thread for two minutes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from backend.media.header import broken

LOOKED_AT_BYTES = 8 * 1024 * 1024
"""Packed data up to this size are left to libpng: at worst they cost what a slow host does."""

_STEP_BYTES = 1024 * 1024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG third edition, table 8)


def refuse_surplus(encoded: bytes) -> None:
    """Unpack the data once, as far as the picture needs.

    encoded: a PNG whose header was read. What is damaged is left to the decoder.
    Cost: two thirds of decoding once more, for packed data beyond LOOKED_AT_BYTES.
    Raises: MediaUnreadable.
    """
    packed = list(_data(encoded))
    if sum(map(len, packed)) <= LOOKED_AT_BYTES:
        return
    room = most_bytes(encoded)
    unpacker = zlib.decompressobj()
    for part in packed:
        waiting: bytes | memoryview = part
        while waiting:
            try:
                room -= len(unpacker.decompress(waiting, _STEP_BYTES))
            except zlib.error:
                return
            if room < 0:
                raise broken("PNG", "its data unpack to more than its size")
            waiting = unpacker.unconsumed_tail


def _data(encoded: bytes) -> Iterator[memoryview]:
    view = memoryview(encoded)
    at = 8
    while at + 8 <= len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, at)
        if name == b"IDAT":
            yield view[at + 8 : at + 8 + length]
        elif name == b"IEND":
            return
        at += 12 + length


def most_bytes(encoded: bytes) -> int:
    """Unpacked size of the picture, or a little more: interlaced it has shorter and more rows."""
    width, height, depth, colour = struct.unpack_from(">IIBB", encoded, 16)
    row_bytes = -(-width * _CHANNELS.get(colour, 4) * depth // 8)
    return int(height * (row_bytes + 5)) + 1024

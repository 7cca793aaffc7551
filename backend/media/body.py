"""The body of an answer, in chunks, within a bound also where it comes packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import httpx

from backend.errors import MediaTooLarge, MediaUnreadable
from backend.media.address import shown

_CHUNK_BYTES = 64 * 1024


def body_of(response: httpx.Response, url: str, limit: int, setting: str) -> Iterator[bytes]:
    """The body, unpacked, in chunks. setting: which bounds it. Raises: MediaTooLarge."""
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(url, limit, setting)
    inflate = _inflater(response.headers.get("content-encoding", ""), url)
    taken = 0
    for packed in response.iter_raw(_CHUNK_BYTES):
        # One byte beyond the limit is enough to know, however much a bomb would unpack to.
        chunk = inflate(packed, limit + 1 - taken) if inflate else packed
        taken += len(chunk)
        if taken > limit:
            raise _too_large(url, limit, setting)
        yield chunk


def _inflater(encoding: str, url: str) -> Callable[[bytes, int], bytes] | None:
    """Unpacks a chunk to at most so many bytes; None where nothing is packed.

    Some stores answer packed although identity was asked for. httpx would unpack a chunk
    whole, several layers deep, before its size could be looked at.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in ("gzip", "x-gzip", "deflate"):
        raise MediaUnreadable(
            f"{shown(url)} is sent with Content-Encoding {encoding[:40]!r}.",
            "Have the server send the file as it is.",
        )
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def inflate(chunk: bytes, room: int) -> bytes:
        try:
            return unpacker.decompress(chunk, room)
        except zlib.error:
            raise MediaUnreadable(
                f"{shown(url)} announces Content-Encoding {name} and is not packed so.",
                "Have the server send the file as it is.",
            ) from None

    return inflate


def _too_large(url: str, limit: int, setting: str) -> MediaTooLarge:
    return MediaTooLarge(
        f"{shown(url)} has more than {limit} bytes.", f"Make the file smaller, or raise {setting}."
    )

"""Which container a file's first bytes announce: only these are given to a decoder."""

from __future__ import annotations

HEADER_BYTES = 4096

_MPEG_TS_PACKET = 188
_MPEG_TS_SYNC = 0x47


def sniff_video(start: bytes) -> str | None:
    """The container's name by the first bytes of a file, None where it is none of these.

    Playlists and other texts that name further files are none.
    """
    if start[4:8] == b"ftyp" or start[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "MP4 or MOV"
    if start[:4] == b"\x1aE\xdf\xa3":
        return "WebM or Matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "AVI"
    if start[:4] == b"OggS":
        return "Ogg"
    if start[:4] == b"\x00\x00\x01\xba" or start[:4] == b"\x00\x00\x01\xb3":
        return "MPEG"
    packets = start[: 3 * _MPEG_TS_PACKET : _MPEG_TS_PACKET]
    if len(packets) == 3 and all(sync == _MPEG_TS_SYNC for sync in packets):
        return "MPEG transport stream"
    return None

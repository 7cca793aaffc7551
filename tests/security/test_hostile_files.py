"""Files that were made to do harm, as pictures and as weights."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from backend.errors import ConfigError, MediaError, WeightsUnavailable
from backend.learning.head import Head
from backend.media.decode import decode_picture
from backend.media.png_data import most_bytes
from backend.vision.architectures import ARCHITECTURES
from backend.vision.weight_files import load_weights
from tests.media.pictures import cells, encode, jpeg_with, png_chunk, png_with

ROOT = Path(__file__).resolve().parents[2]
PICTURE = cells([[1, 2, 3], [4, 5, 6]])
JPEG, PNG, GIF = (encode(extension, PICTURE) for extension in (".jpg", ".png", ".gif"))
WEBP = encode(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 80)


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script>'
    b'<image href="http://169.254.169.254/"/><text>&x;</text></svg>'
)
HOSTILE: dict[str, bytes] = {
    "SVG with script and entity": SVG,
    "SVG of billion laughs": b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
    "SVG after a comment": b"<!-- " + b"x" * 3000 + b" -->" + SVG,
    "pickle": pickle.dumps(Payload(Path("/nonexistent/marker"))),
    "zip": zipped("a.png", PNG),
    "zip bomb": zipped("a", bytes(10_000_000)),
    "gzip": zlib.compress(PNG, wbits=31),
    "PDF": b"%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>",
    "web page": b"<!DOCTYPE html><script>alert(1)</script>",
    "PostScript": b"%!PS\n(%pipe%id) (r) file",
    "ImageMagick script": b"push graphic-context\nfill 'url(https://127.0.0.1/)'\npop",
    "shell script": b"#!/bin/sh\nid",
    "ELF": b"\x7fELF" + bytes(100),
    "PNG of 2**31 pixels a side": PNG[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + PNG[24:],
    "PNG of other size than its data": PNG[:16] + struct.pack(">II", 900, 900) + PNG[24:],
    "PNG with frames beyond its size": PNG[:33]
    + png_chunk(b"acTL", struct.pack(">II", 2, 0))
    + png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0))
    + PNG[33:],
    "PNG of a million chunks": PNG[:33] + png_chunk(b"teXt", b"") * 1_000_000 + PNG[33:],
    "JPEG of 65535 pixels a side": JPEG.replace(
        struct.pack(">HH", 32, 48), struct.pack(">HH", 65_535, 65_535)
    ),
    "JPEG of fill bytes": b"\xff\xd8\xff" + b"\xff" * 10_000_000,
    "JPEG of empty segments": b"\xff\xd8" + b"\xff\xe2\x00\x02" * 5_000_000,
    "JPEG of lone markers": b"\xff\xd8" + b"\xff\x01" * 10_000_000,
    "JPEG of a thousand scans": encode(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    + b"\xff\xda" * 1000,
    "GIF of 65535 pixels a side": GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:],
    "WebP that lies about its size": b"RIFF" + struct.pack("<I", len(WEBP) + 10) + b"WEBPVP8X"
    + struct.pack("<I", 10) + bytes(4) + b"\xff\x00\x00\xff\x00\x00" + WEBP[12:],
    "BMP of 2**31 rows": b"BM" + bytes(12)
    + struct.pack("<IiiHHIIiiII", 40, 9, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "BMP of 10000 pixels a side": b"BM" + bytes(12)
    + struct.pack("<IiiHHIIiiII", 40, 10_000, 10_000, 1, 8, 1, 0, 0, 0, 0, 0),
}  # fmt: skip


def tiff_of(*tags: tuple[int, int, int, int]) -> bytes:
    """A TIFF of these tags: number, type, count, value."""
    rest = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 100)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in (*tags, *rest))
    count = struct.pack("<H", len(tags) + len(rest))
    return b"II*\0\x08\0\0\0" + count + entries + bytes(400)


_SMALL = ((256, 3, 1, 10), (257, 3, 1, 10))
for _kind, _name in ((16, "64 bits"), (9, "signed"), (1, "bytes"), (13, "directories")):
    HOSTILE[f"TIFF whose true size is in {_name}"] = tiff_of(
        (256, _kind, 1, 60_000), (257, _kind, 1, 60_000), *_SMALL
    )
HOSTILE["TIFF with several widths"] = tiff_of((256, 3, 2, 60_000 | 60_000 << 16), *_SMALL)
HOSTILE["TIFF whose directory is elsewhere"] = b"II*\0" + struct.pack("<I", 2**32 - 1)

FRAMED = {
    "picture with a zip behind it": PNG + zipped("a", b"b"),
    "picture with a pickle in it": jpeg_with(JPEG, pickle.dumps([1]), 0xE5),
    "picture with a script in it": png_with(PNG, b"tEXt", b"a\0<script>alert(1)</script>"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_file_is_a_picture_that_is_none(content: bytes) -> None:
    began_s = time.process_time()
    with pytest.raises(MediaError) as caught:
        decode_picture(content, max_pixels=1_000_000)
    assert caught.value.remedy
    assert time.process_time() - began_s < 5


@pytest.mark.parametrize("content", FRAMED.values(), ids=FRAMED.keys())
def test_what_lies_beside_the_pixels_is_ignored(content: bytes) -> None:
    assert decode_picture(content, max_pixels=1_000_000).size_hw == (32, 48)


def test_png_data_that_unpack_to_far_more_are_refused() -> None:
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 24)
    packed = b"".join(packer.compress(zeros) for _ in range(1)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = packed + packed[2:] * 550  # some nine megabytes that unpack to nine gigabytes
    bomb = PNG[:33] + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"")
    began_s = time.process_time()
    with pytest.raises(MediaError, match="unpack to more than its size"):
        decode_picture(bomb, max_pixels=1_000_000)
    assert time.process_time() - began_s < 3


def test_large_honest_pngs_are_still_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1800, 1700, 3), np.uint8)
    for level in (0, 1):
        encoded = encode(".png", noise, cv2.IMWRITE_PNG_COMPRESSION, level)
        assert len(encoded) > 9_000_000
        assert decode_picture(encoded, max_pixels=10**7).size_hw == (1800, 1700)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 900), (900, 7), (640, 481)])
@pytest.mark.parametrize(("colour", "depth", "channels"), [(0, 1, 1), (3, 4, 1), (6, 16, 4)])
def test_interlaced_pictures_have_room(
    size: tuple[int, int], colour: int, depth: int, channels: int
) -> None:
    """Seven passes (PNG third edition, 8.1), each row with its filter byte."""
    width, height = size
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    needed = 0
    for x, y, step_x, step_y in [*passes, (0, 1, 1, 2)]:
        columns, rows = len(range(x, width, step_x)), len(range(y, height, step_y))
        needed += rows * (1 + -(-columns * channels * depth // 8)) if columns else 0
    header = bytes(16) + struct.pack(">IIBB", width, height, depth, colour)
    assert needed <= most_bytes(header) < needed * 1.5 + 6 * height + 1025


@pytest.mark.slow
def test_bombs_need_no_memory() -> None:
    """Under a hard limit: a chunk that unpacks to a gigabyte, and sizes that would need ten."""
    script = """
import resource, sys, zlib
import tests.security.test_hostile_files as files
from backend.errors import MediaError
from backend.media.decode import decode_picture
chunks = zlib.compress(bytes(1 << 28), 9)
limit = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit + (256 << 20),) * 2)
tried = 0
for kind in (b"zTXt", b"iTXt", b"iCCP"):
    head = b"a\\0\\1\\0\\0\\0" if kind == b"iTXt" else b"a\\0\\0"
    assert decode_picture(files.png_with(files.PNG, kind, head + chunks), max_pixels=10**6)
    tried += 1
for content in files.HOSTILE.values():
    try:
        decode_picture(content, max_pixels=10**6)
    except MediaError:
        tried += 1
print(tried)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == 3 + len(HOSTILE)


def bad_weights(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Weights files by what is wrong with them, each with the marker it would leave."""
    found: dict[str, tuple[Path, Path]] = {}

    def add(name: str, suffix: str, content: bytes) -> None:
        path = folder / f"{len(found)}{suffix}"
        path.write_bytes(content)
        found[name] = path, folder / f"marker{len(found)}"

    def payload() -> Payload:
        return Payload(folder / f"marker{len(found)}")

    for protocol in range(6):
        add(f"pickle of protocol {protocol}", ".pth", pickle.dumps(payload(), protocol))
    for zipped_by_torch in (True, False):
        file = io.BytesIO()
        tensors = {"a": torch.zeros(1), "b": payload()}
        torch.save(tensors, file, _use_new_zipfile_serialization=zipped_by_torch)
        add(f"torch file, zip {zipped_by_torch}", ".pt", file.getvalue())
    add("zip with a pickle", ".pt", zipped("archive/data.pkl", pickle.dumps(payload())))
    add("zip bomb", ".pt", zipped("archive/data.pkl", bytes(50_000_000)))
    add("zip that climbs", ".pt", zipped("../../data.pkl", pickle.dumps(payload())))
    add("pickle as safetensors", ".safetensors", pickle.dumps(payload()))
    add("header of 2**63 bytes", ".safetensors", struct.pack("<Q", 2**63) + b"{}")
    add("header beyond the file", ".safetensors", struct.pack("<Q", 10**6) + b"{}")
    for name, offsets in (("beyond the file", [0, 10**12]), ("backwards", [8, 0])):
        header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}).encode()
        add(f"tensor {name}", ".safetensors", struct.pack("<Q", len(header)) + header + bytes(8))
    deep = b"[" * 100_000
    add("deep header", ".safetensors", struct.pack("<Q", len(deep)) + deep)
    add("empty", ".pth", b"")
    add("text", ".pth", b"not weights")
    add("other kind", ".pkl", pickle.dumps(payload()))
    return found


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_weights_file_runs_code(tmp_path: Path) -> None:
    tried = bad_weights(tmp_path)
    for name, (path, marker) in tried.items():
        with pytest.raises(WeightsUnavailable) as caught:
            load_weights(ARCHITECTURES.get("mobilenet_v2"), path)
        assert caught.value.remedy, name
        assert not marker.exists(), name
    assert len(tried) > 15
    # The payload does work where something unpickles it.
    pickle.loads(next(iter(tried.values()))[0].read_bytes())
    assert next(iter(tried.values()))[1].exists()


def test_no_head_runs_code(tmp_path: Path) -> None:
    for name, (path, marker) in bad_weights(tmp_path).items():
        with pytest.raises(ConfigError):
            Head.from_bytes(path.read_bytes())
        assert not marker.exists(), name

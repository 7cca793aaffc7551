"""What is kept of a picture, so that training again costs no forward pass."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backend.domain import Picture
from backend.vision.backbones import Backbone
from backend.vision.look import prepare

log = structlog.get_logger(__name__)

F16Array = npt.NDArray[np.float16]

SIZES_PX = (224, 320)
"""Sides to which pictures are resized for learning; what the two see is averaged."""

SMALL_SIZES_PX = (320, 448)
"""The same where objects are small."""

BATCH = 8

_REVISION = 2
"""Of what is kept: raised when pictures are prepared in another way."""

LEFT_FREE_BYTES = 64 << 20
"""Room that the cache leaves on its disk: for the embedded Redis, which needs it more."""

_SAY_S = 60.0

Taps = tuple[F16Array, ...]
"""Each (C, h, w), fine to coarse."""


@dataclass(frozen=True, slots=True)
class PictureFeatures:
    """What the frozen backbone makes of one picture.

    views: its taps at each size, small to large. pooled: (C,) float16, the mean over the
    last tap of the largest. size_hw: of the oriented original in pixels.
    """

    views: tuple[Taps, ...]
    pooled: F16Array
    size_hw: tuple[int, int]

    def to_bytes(self) -> bytes:
        """As safetensors."""
        arrays = {
            f"{view}/{tap}": np.ascontiguousarray(values)
            for view, taps in enumerate(self.views)
            for tap, values in enumerate(taps)
        }
        arrays |= {"pooled": self.pooled, "size_hw": np.array(self.size_hw, np.int64)}
        return bytes(save(arrays))

    @classmethod
    def from_bytes(cls, data: bytes) -> PictureFeatures:
        """Raises: SafetensorError, KeyError where the bytes are something else."""
        arrays = load(data)
        height, width = (int(side) for side in arrays["size_hw"])
        views: dict[int, dict[int, F16Array]] = {}
        for name in arrays.keys() - {"pooled", "size_hw"}:
            view, tap = (int(part) for part in name.split("/"))
            views.setdefault(view, {})[tap] = arrays[name]
        ordered = tuple(
            tuple(views[view][tap] for tap in sorted(views[view])) for view in sorted(views)
        )
        return cls(ordered, arrays["pooled"], (height, width))


def extract(
    backbone: Backbone, pictures: Sequence[Picture], *, small: bool = False, mirrored: bool = False
) -> list[PictureFeatures]:
    """One forward pass a picture and size, in batches.

    small: at larger sizes, for small objects. mirrored: of the pictures turned left to
    right; their boxes must be mirrored too.
    """
    found: list[PictureFeatures] = []
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        sizes = [
            _taps(backbone, part, side_px, mirrored)
            for side_px in (SMALL_SIZES_PX if small else SIZES_PX)
        ]
        for i, picture in enumerate(part):
            views = tuple(tuple(tap[i] for tap in taps) for taps in sizes)
            pooled = views[-1][-1].astype(np.float32).mean((1, 2)).astype(np.float16)
            found.append(PictureFeatures(views, pooled, picture.size_hw))
    return found


def _taps(
    backbone: Backbone, pictures: Sequence[Picture], side_px: int, mirrored: bool
) -> list[F16Array]:
    squares = np.stack([prepare(picture, side_px) for picture in pictures])
    if mirrored:
        squares = np.ascontiguousarray(squares[:, :, ::-1])
    images_u8 = torch.from_numpy(squares).to(backbone.device).permute(0, 3, 1, 2)
    _, taps = backbone.tapped(images_u8)
    return [tap.half().cpu().numpy() for tap in taps]


class FeatureCache:
    """Features on this machine's disk, bounded, least recently used first out.

    folder: made when missing. max_bytes: of all files together. It is never what fills a
    disk: it leaves ``LEFT_FREE_BYTES`` to others.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._written_bytes = max_bytes  # the first put looks at what is there
        self._next_word_s = 0.0

    def get(
        self, picture: str, backbone_digest: str, *, small: bool = False, mirrored: bool = False
    ) -> PictureFeatures | None:
        """What is kept of a picture (its content hash), None if nothing is, or it is damaged."""
        path = self._path(picture, backbone_digest, small, mirrored)
        try:
            found = PictureFeatures.from_bytes(path.read_bytes())
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, OSError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return found

    def put(
        self,
        picture: str,
        backbone_digest: str,
        features: PictureFeatures,
        *,
        small: bool = False,
        mirrored: bool = False,
    ) -> None:
        """Keep a picture's features; a disk that is full keeps nothing and harms nobody."""
        path = self._path(picture, backbone_digest, small, mirrored)
        partial = path.with_suffix(f".{os.getpid()}.part")
        content = features.to_bytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free - len(content) < LEFT_FREE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._written_bytes += partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            self._tell(error)
            return
        # Listing the folder costs more than writing a file, so it is not done each time.
        if self._written_bytes > self._max_bytes / 20:
            self._trim()
            self._written_bytes = 0

    def _tell(self, error: OSError) -> None:
        """Say it once in a while: there are as many pictures as there are puts."""
        now_s = time.monotonic()
        if now_s >= self._next_word_s:
            self._next_word_s = now_s + _SAY_S
            log.warning(
                "features_not_kept",
                folder=str(self._folder),
                reason=f"{error.strerror or error}. They are computed again when needed.",
            )

    def _path(self, picture: str, backbone_digest: str, small: bool, mirrored: bool) -> Path:
        kind = f"{'small' if small else 'normal'}{'-mirrored' if mirrored else ''}"
        return (
            self._folder
            / picture[:2]
            / f"{picture}-{backbone_digest}-{kind}-{_REVISION}.safetensors"
        )

    def _trim(self) -> None:
        entries: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process may have removed it
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, size, _ in entries) - self._max_bytes
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            excess -= size

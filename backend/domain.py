"""The values that travel through the backend: task, picture, map, boxes, outcome.

Pure data and box geometry on numpy. Everything inside the backend is in float pixels
of the oriented original picture, ``x0 y0 x1 y1``, half-open; Label Studio's percent
exists only in ``backend.labelstudio``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
U8Array = npt.NDArray[np.uint8]

UNNAMED = ""
"""Label of a box whose name is left to the annotator."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task as Label Studio sends it, reduced to what a prediction depends on.

    id: Label Studio's id, None in a test request without one.
    data: the task's ``data`` object.
    """

    id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright.

    rgb_u8: (H, W, 3) uint8, C-contiguous, EXIF orientation applied. It may be smaller
        than the original where a reduced decode was enough.
    size_hw: height and width in pixels of the oriented original; boxes refer to it.
    content_hash: hex digest of the encoded bytes, names the picture in every cache.
    """

    rgb_u8: U8Array
    size_hw: tuple[int, int]
    content_hash: str

    def __post_init__(self) -> None:
        if self.rgb_u8.ndim != 3 or self.rgb_u8.shape[2] != 3 or self.rgb_u8.dtype != np.uint8:
            raise ValueError(
                f"rgb_u8 must be (H, W, 3) uint8, got {self.rgb_u8.shape} {self.rgb_u8.dtype}"
            )
        if min(self.size_hw) < 1:
            raise ValueError(f"size_hw must be positive, got {self.size_hw}")


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """Where the network looked, one map a picture.

    values_bhw: (B, h, w) float32 in [0, 1]; a flat map is all zeros.
    """

    values_bhw: FloatArray

    def __post_init__(self) -> None:
        if self.values_bhw.ndim != 3 or self.values_bhw.dtype != np.float32:
            raise ValueError(
                f"values_bhw must be (B, h, w) float32, got {self.values_bhw.shape} "
                f"{self.values_bhw.dtype}"
            )


@dataclass(frozen=True, slots=True)
class Boxes:
    """Scored, labelled rectangles on one picture.

    xyxy_px: (N, 4) float32, x0 <= x1, y0 <= y1, inside size_hw, half-open.
    score: (N,) float32 in [0, 1].
    label: N names, ``UNNAMED`` where the annotator is to choose.
    size_hw: height and width of the oriented original in pixels.
    """

    xyxy_px: FloatArray
    score: FloatArray
    label: tuple[str, ...]
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.label)
        if self.xyxy_px.shape != (count, 4) or self.score.shape != (count,):
            raise ValueError(
                f"{count} labels need xyxy_px ({count}, 4) and score ({count},), got "
                f"{self.xyxy_px.shape} and {self.score.shape}"
            )
        height, width = self.size_hw
        # Mostly one box or a few, for which numpy takes ten times as long. NaN compares
        # false and is caught as well.
        xyxy_px, score = self.xyxy_px.tolist(), self.score.tolist()
        if not all(
            0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height for x0, y0, x1, y1 in xyxy_px
        ):
            raise ValueError(f"boxes leave a picture of {width}x{height}: {xyxy_px}")
        if not all(0 <= value <= 1 for value in score):
            raise ValueError(f"scores leave [0, 1]: {score}")

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Boxes:
        """No box on a picture of size_hw."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), size_hw)

    def select(self, index: Iterable[int]) -> Boxes:
        """The boxes at these positions, in this order."""
        chosen = list(index)
        return Boxes(
            self.xyxy_px[chosen].reshape(-1, 4),
            self.score[chosen].reshape(-1),
            tuple(self.label[i] for i in chosen),
            self.size_hw,
        )

    def best(self, count: int, threshold: float = 0.0) -> Boxes:
        """At most count boxes of score >= threshold, best first, ties in their old order."""
        if len(self) <= min(count, 1) and (self.score >= threshold).all():
            return self  # nothing to order, nothing to leave out
        order = np.argsort(-self.score, kind="stable")
        return self.select(int(i) for i in order[:count] if self.score[i] >= threshold)


def concat_boxes(parts: Sequence[Boxes], size_hw: tuple[int, int]) -> Boxes:
    """All boxes of several sets on the same picture, in order."""
    kept = [part for part in parts if len(part)]
    if not kept:
        return Boxes.empty(size_hw)
    if len(kept) == 1 and kept[0].size_hw == size_hw:
        return kept[0]
    return Boxes(
        np.concatenate([part.xyxy_px for part in kept]),
        np.concatenate([part.score for part in kept]),
        tuple(name for part in kept for name in part.label),
        size_hw,
    )


@dataclass(frozen=True, slots=True)
class Points:
    """Scored, labelled places on one picture.

    xy_px: (N, 2) float32 x y, inside size_hw. score: (N,) float32 in [0, 1]. label: N names.
    size_hw: height and width of the oriented original in pixels.
    """

    xy_px: FloatArray
    score: FloatArray
    label: tuple[str, ...]
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.label)
        if self.xy_px.shape != (count, 2) or self.score.shape != (count,):
            raise ValueError(
                f"{count} labels need xy_px ({count}, 2) and score ({count},), got "
                f"{self.xy_px.shape} and {self.score.shape}"
            )
        height, width = self.size_hw
        if not all(0 <= x <= width and 0 <= y <= height for x, y in self.xy_px.tolist()):
            raise ValueError(f"points leave a picture of {width}x{height}: {self.xy_px.tolist()}")
        if not all(0 <= value <= 1 for value in self.score.tolist()):
            raise ValueError(f"scores leave [0, 1]: {self.score.tolist()}")

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Points:
        """No point on a picture of size_hw."""
        return cls(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), (), size_hw)

    def select(self, index: Iterable[int]) -> Points:
        """The points at these positions, in this order."""
        chosen = list(index)
        return Points(
            self.xy_px[chosen].reshape(-1, 2),
            self.score[chosen].reshape(-1),
            tuple(self.label[i] for i in chosen),
            self.size_hw,
        )

    def best(self, count: int, threshold: float = 0.0) -> Points:
        """At most count points of score >= threshold, the best of them in their old order."""
        order = np.argsort(-self.score, kind="stable")[:count]
        return self.select(int(i) for i in sorted(order) if self.score[i] >= threshold)


def concat_points(parts: Sequence[Points], size_hw: tuple[int, int]) -> Points:
    """All points of several sets on the same picture, in order."""
    if not parts:
        return Points.empty(size_hw)
    return Points(
        np.concatenate([part.xy_px for part in parts]),
        np.concatenate([part.score for part in parts]),
        tuple(name for part in parts for name in part.label),
        size_hw,
    )


def clip_xyxy_px(xyxy_px: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """(N, 4) corners moved inside a picture of size_hw."""
    height, width = size_hw
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(xyxy_px.astype(np.float32), 0.0, limit)


def iou_matrix(first_xyxy: FloatArray, second_xyxy: FloatArray) -> FloatArray:
    """(N, M) float32 intersection over union of two sets of boxes; empty boxes give 0."""
    ax0, ay0, ax1, ay1 = first_xyxy.reshape(-1, 4).astype(np.float32).T[:, :, None]
    bx0, by0, bx1, by1 = second_xyxy.reshape(-1, 4).astype(np.float32).T[:, None, :]
    # Coordinate by coordinate: one (N, M, 2) array of corners takes four times as long.
    width = np.minimum(ax1, bx1) - np.maximum(ax0, bx0)
    height = np.minimum(ay1, by1) - np.maximum(ay0, by0)
    overlap = np.maximum(width, 0, out=width)
    overlap *= np.maximum(height, 0, out=height)
    area_a = np.maximum(ax1 - ax0, 0) * np.maximum(ay1 - ay0, 0)
    area_b = np.maximum(bx1 - bx0, 0) * np.maximum(by1 - by0, 0)
    union = area_a + area_b - overlap
    ratio: FloatArray = np.zeros(overlap.shape, np.float32)
    np.divide(overlap, union, out=ratio, where=union > 0)
    return ratio


# What became of a task. Label Studio tells "nothing found" (a stored empty prediction)
# from "no answer" (an empty list) by the shape of the reply; here it is the type.


@dataclass(frozen=True, slots=True)
class Predicted:
    """The picture was looked at; payload is the finished Label Studio prediction."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The task cannot be done: code is stable and counted, reason is for people."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Not done within the deadline; the work goes on."""


Outcome = Predicted | Failed | Pending


@dataclass(frozen=True, slots=True)
class BackboneIdentity:
    """What a worker loaded, published so that the server can name versions.

    name: registry name; digest: short hex of the weights; size_px: input side; source:
    where the weights come from (file, embedded, download, memory), "" before that is known.
    """

    name: str
    digest: str
    size_px: int
    classes: tuple[str, ...] = field(default=(), repr=False)
    source: str = ""

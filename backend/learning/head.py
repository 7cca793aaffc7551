"""A head: all that a project's accepted boxes have taught, immutable once made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from backend.domain import Boxes, FloatArray, clip_xyxy_px
from backend.errors import ConfigError
from backend.learning.accept import Acceptance, accept_features
from backend.learning.features import PictureFeatures
from backend.learning.label_classifier import LabelClassifier
from backend.learning.linear import Ridge
from backend.learning.naming import Naming, label_margin
from backend.learning.prior import Prior, prior_by_digest
from backend.learning.rank import Ranker
from backend.learning.scene import (
    describe_all,
    grids_of,
    keep_best,
    propose_with,
    view_of,
)
from backend.learning.tensors import Tensors, metadata_of, pack, unpack
from backend.learning.trees import Trees
from backend.learning.whitening import Whitening

SCHEMA = 3
_READ_SCHEMAS = (2, SCHEMA)
"""Heads of schema 2 differ only in that they have no classifier."""


@dataclass(frozen=True, slots=True)
class HeadMeta:
    """What a head was made from.

    backbone, backbone_digest: of the frozen network. prior: digest, "" without one.
    pictures: content hashes of its training set. metrics: out of fold. settings: of the
    method, as far as they can be chosen.
    """

    backbone: str
    backbone_digest: str
    prior: str
    pictures: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """labels: as Label Studio stores them. small: which kind of features it reads.

    whitening: None where the prior's is used. weights (D + 1, 10) of the dense head;
    corners corrects boxes; known (M, 4) accepted boxes in picture units. prior_boxes:
    whether the prior's boxes are candidates too. classifier: no prediction depends on it,
    it explains the labels; None in heads of an earlier release.
    """

    labels: tuple[str, ...]
    small: bool
    meta: HeadMeta
    whitening: Whitening | None
    weights: FloatArray
    corners: Ridge
    ranker: Ranker
    naming: Naming | None
    classifier: LabelClassifier | None
    acceptance: Acceptance
    known: FloatArray
    prior_boxes: bool

    def to_bytes(self) -> bytes:
        """As safetensors, the meta data beside the tensors as JSON."""
        arrays: Tensors = {"weights": self.weights, "known": self.known}
        arrays |= pack("corners", self.corners) | pack("acceptance", self.acceptance)
        arrays |= pack("ranker/ridge", self.ranker.ridge) | pack("ranker/trees", self.ranker.trees)
        arrays["ranker/prior_share"] = np.asarray(self.ranker.prior_share)
        if self.naming is not None:
            arrays |= pack("naming", self.naming)
        if self.classifier is not None:
            arrays |= pack("classifier", self.classifier)
        if self.whitening is not None:
            for i, mean in enumerate(self.whitening.means):
                arrays[f"whitening/mean/{i}"] = mean
                arrays[f"whitening/projection/{i}"] = self.whitening.projections[i]
        record = {
            "schema": SCHEMA,
            "labels": self.labels,
            "small": self.small,
            "prior_boxes": self.prior_boxes,
        }
        header = {"head": json.dumps({**record, "meta": asdict(self.meta)})}
        ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
        return bytes(save(ordered, header))

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """Raises: ConfigError where the bytes are no head of this schema."""
        try:
            return cls._read(data)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"This is not a head: {error}.", "Import a file that `heads export` wrote."
            ) from error

    @classmethod
    def _read(cls, data: bytes) -> Head:
        arrays = load(data)
        record: dict[str, Any] = json.loads(metadata_of(data)["head"])
        if record["schema"] not in _READ_SCHEMAS:
            raise ValueError(f"schema {record['schema']}, this release reads {_READ_SCHEMAS}")
        meta = record["meta"]
        count = sum(name.startswith("whitening/mean/") for name in arrays)
        whitening = Whitening(
            tuple(arrays[f"whitening/mean/{i}"] for i in range(count)),
            tuple(arrays[f"whitening/projection/{i}"] for i in range(count)),
        )
        ranker = Ranker(
            unpack(Ridge, "ranker/ridge", arrays),
            unpack(Trees, "ranker/trees", arrays),
            float(arrays["ranker/prior_share"]),
        )
        return cls(
            tuple(record["labels"]),
            bool(record["small"]),
            HeadMeta(**{**meta, "pictures": tuple(meta["pictures"])}),
            whitening if count else None,
            arrays["weights"],
            unpack(Ridge, "corners", arrays),
            ranker,
            unpack(Naming, "naming", arrays) if "naming/mean" in arrays else None,
            unpack(LabelClassifier, "classifier", arrays)
            if "classifier/weight" in arrays
            else None,
            unpack(Acceptance, "acceptance", arrays),
            arrays["known"],
            bool(record["prior_boxes"]),
        )


def predict(head: Head, features: Sequence[PictureFeatures]) -> list[Boxes]:
    """Boxes of each picture, best first, in pixels of its oriented original.

    A score is the probability that a person accepts the box: right label, IoU >= .7.
    Raises: ConfigError where this release lacks the prior that the head was made from.
    """
    prior = _prior(head)
    whitening = head.whitening or (prior.whitening if prior else None)
    if whitening is None:
        raise ConfigError("A head without whitening.", "Train the project again.")
    return [_predict(head, prior, whitening, picture) for picture in features]


def _predict(
    head: Head, prior: Prior | None, whitening: Whitening, picture: PictureFeatures
) -> Boxes:
    grids = grids_of(picture, whitening)
    leans = head.prior_boxes or head.ranker.prior_share > 0
    view = view_of(prior, grids) if prior and leans else None
    also = view if head.prior_boxes else None
    proposed = propose_with(head.weights, head.known, grids, also)
    described = describe_all(proposed, head.corners, prior, view)
    kept = keep_best(described.boxes, head.ranker(described))
    label, margin = name_boxes(head.naming, name_maps(head.naming, grids), kept.boxes)
    cut_by, probability = head.acceptance(accept_features(kept.score, kept.iou, margin))
    shown = np.flatnonzero(cut_by >= head.acceptance.threshold)
    order = shown[np.argsort(-probability[shown], kind="stable")]
    return Boxes(
        to_pixels(kept.fused[order], picture.size_hw),
        probability[order],
        tuple(head.labels[int(i)] for i in label[order]),
        picture.size_hw,
    )


def name_maps(naming: Naming | None, grids: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """All of a picture that its boxes are named from, far smaller than its grids."""
    return naming.maps(grids) if naming is not None else ()


def name_boxes(
    naming: Naming | None, maps: Sequence[FloatArray], boxes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(N,) positions among the labels, and (N, 2) margins of that choice."""
    if naming is None:
        return np.zeros(len(boxes), np.float32), np.zeros((len(boxes), 2), np.float32)
    values = naming.at(maps, boxes)
    return values.argmax(1).astype(np.float32), label_margin(values)


def to_pixels(boxes_unit: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """(N, 4) picture units to pixels."""
    height, width = size_hw
    scale = np.array([width, height, width, height], np.float32)
    return clip_xyxy_px((boxes_unit * scale).astype(np.float32), size_hw)


def to_units(boxes: Boxes) -> FloatArray:
    """(N, 4) pixels to picture units."""
    height, width = boxes.size_hw
    scale = np.array([width, height, width, height], np.float32)
    return np.asarray(boxes.xyxy_px / scale, np.float32)


def _prior(head: Head) -> Prior | None:
    if not head.meta.prior:
        return None
    prior = prior_by_digest(head.meta.prior)
    if prior is None:
        raise ConfigError(
            f"The head was made from prior {head.meta.prior}, which this release does not have.",
            "Train the project again.",
        )
    return prior

"""Pictures by id, described by a backbone once and then never again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from backend.domain import Boxes, FloatArray, Picture
from backend.jobs.learner import FeaturePair, Learner
from backend.jobs.sight import BESIDE_CAM, Eyes
from backend.vision.backbones import Backbone
from backend.vision.detect import DetectOptions, LabelQuery, prepare
from backend.vision.objects import Sight, find
from backend.vision.saliency import OBJECTS

BATCH = 8
"""Pictures in one forward pass."""


class Shelf:
    """Features and zero-shot boxes of pictures.

    learner: how they are described, and where descriptions are kept. read: the picture with
    this id. hash_of: its content hash, told without reading it. on_forward: called with the
    number of pictures that just went through the network.
    """

    def __init__(
        self,
        backbone: Backbone,
        learner: Learner,
        read: Callable[[str], Picture],
        hash_of: Callable[[str], str],
        on_forward: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.backbone = backbone
        self.learner = learner
        self._read = read
        self._hash_of = hash_of
        self._on_forward = on_forward

    def picture(self, picture_id: str) -> Picture:
        """The picture itself."""
        return self._read(picture_id)

    def upright(self, ids: Sequence[str], *, small: bool) -> Iterator[Any]:
        """The features of each picture, in order, a batch in memory at a time."""
        return self._features(ids, small, mirrored=False)

    def both(self, ids: Sequence[str], *, small: bool) -> Mapping[str, FeaturePair]:
        """The features of each picture as it is and mirrored left to right."""
        pairs = zip(
            self._features(ids, small, mirrored=False),
            self._features(ids, small, mirrored=True),
            strict=True,
        )
        return dict(zip(ids, pairs, strict=True))

    def pooled(self, ids: Sequence[str], *, small: bool) -> dict[str, FloatArray]:
        """A vector (C,) of each picture: the mean over the cells of its coarsest features."""
        features = self.upright(ids, small=small)
        return {
            one: np.asarray(described.pooled, np.float32)
            for one, described in zip(ids, features, strict=True)
        }

    def zero_shot(
        self, ids: Sequence[str], labels: Sequence[LabelQuery], options: DetectOptions
    ) -> dict[str, Boxes]:
        """What is found with nothing accepted, as a worker finds it."""
        found: dict[str, Boxes] = {}
        for part in _batches(ids):
            pictures, sight = self.sight(part, objects=options.saliency == OBJECTS)
            found.update(zip(part, find(sight, pictures, labels, options), strict=True))
        return found

    def sight(self, ids: Sequence[str], *, objects: bool) -> tuple[list[Picture], Sight]:
        """A batch of pictures, and what a worker answers from that has no head."""
        eyes = Eyes(self.backbone, self.learner, BESIDE_CAM if objects else None)
        pictures = [self._read(picture_id) for picture_id in ids]
        squares_u8 = np.stack([prepare(one, self.backbone.size_px) for one in pictures])
        features = None
        if eyes.reads_features:
            features = list(self.upright(ids, small=False))
        else:
            self._on_forward(len(ids))
        return pictures, eyes.look(pictures, squares_u8, features)

    def _features(self, ids: Sequence[str], small: bool, *, mirrored: bool) -> Iterator[Any]:
        digest = self.backbone.identity.digest
        for part in _batches(ids):
            kept = [
                self.learner.cache.get(self._hash_of(one), digest, small=small, mirrored=mirrored)
                for one in part
            ]
            lacking = [at for at, features in enumerate(kept) if features is None]
            if lacking:
                # Only what is lacking is read and decoded.
                made = self.learner.features_of(
                    self.backbone,
                    [self._read(part[at]) for at in lacking],
                    small=small,
                    mirrored=mirrored,
                )
                self._on_forward(len(lacking))
                for at, features in zip(lacking, made, strict=True):
                    kept[at] = features
            yield from kept


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + BATCH] for at in range(0, len(ids), BATCH))

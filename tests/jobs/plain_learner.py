"""A learning of a few lines: the median accepted box of each label, wherever it was drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.domain import UNNAMED, BackboneIdentity, Boxes, FloatArray, Picture, U8Array
from backend.jobs.learner import Fitted, Learner
from backend.learning.examples import Example
from backend.learning.pointed import Pointable
from backend.learning.project_head import Asked
from backend.learning.promote import Counts, judge, total
from backend.learning.unlabelled import See
from backend.vision.backbones import Backbone
from backend.vision.detect import DetectOptions
from backend.vision.look import look
from backend.vision.objects import Objects, Sight
from backend.vision.outlines import FormMap


@dataclass(frozen=True)
class PlainFeatures:
    """All that a median box needs to know of a picture."""

    size_hw: tuple[int, int]


@dataclass(frozen=True)
class PlainHead:
    """boxes: a box in shares of the picture, by label."""

    boxes: Mapping[str, Sequence[float]]
    small: bool = False
    controls: tuple[str, ...] = ()
    point_labels: tuple[str, ...] = ()
    few: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.boxes)

    def without(self, controls: Collection[str]) -> PlainHead:
        return self

    def to_bytes(self) -> bytes:
        return json.dumps(dict(self.boxes)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> PlainHead:
        return cls(json.loads(content))


@dataclass
class PlainCache:
    """Features by name, in memory."""

    kept: dict[tuple[str, str, bool, bool], Any] = field(default_factory=dict)

    def get(
        self, picture: str, backbone_digest: str, *, small: bool = False, mirrored: bool = False
    ) -> Any | None:
        return self.kept.get((picture, backbone_digest, small, mirrored))

    def put(
        self,
        picture: str,
        backbone_digest: str,
        features: Any,
        *,
        small: bool = False,
        mirrored: bool = False,
    ) -> None:
        self.kept[picture, backbone_digest, small, mirrored] = features


@dataclass
class PlainLearning:
    """extracted: forward passes so far. fits: the pictures of each fit. before_fit: called."""

    extracted: int = 0
    fits: list[list[str]] = field(default_factory=list)
    before_fit: Callable[[], None] = lambda: None
    spoil: bool = False
    """Whether the next heads draw their boxes in the wrong place."""
    object: Sequence[float] | None = None
    """A box in shares of the picture that is an object on each; None: nothing is known."""
    hints: list[DetectOptions] = field(default_factory=list)
    traced: int = 0
    """How often cells were asked for, to cut things out of boxes."""
    form: FormMap | None = None
    """What every head knows of the insides of every label's boxes."""
    taught: list[Example] = field(default_factory=list)
    """What the last fit was given."""

    def learner(self) -> Learner:
        return Learner(
            cache=PlainCache(),
            side_px=lambda small: 96,
            extract=self._extract,
            wants_small=lambda examples: False,
            fit=self._fit,
            read_head=PlainHead.from_bytes,
            predict=predict,
            see_objects=lambda backbone: None if self.object is None else self._see(backbone),
            pointable=lambda backbone: self._point,
            cells=self._cells,
            form=lambda head, label: self.form,
        )

    def _cells(self, features: PlainFeatures) -> FloatArray:
        self.traced += 1
        return self._lit()

    def _lit(self) -> FloatArray:
        """Cells that light up on the ellipse in the known object's box."""
        cells = np.zeros((2, 24, 24), np.float32)
        if self.object is not None:
            x0, y0, x1, y1 = self.object
            y, x = (np.indices((24, 24)) + 0.5) / 24
            across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
            cells[0] = across**2 + down**2 < 1
        return cells

    def _see(self, backbone: Backbone) -> See:
        def see(
            features: Sequence[Any],
            pictures: Sequence[Picture],
            squares_u8: U8Array,
            hint: DetectOptions,
        ) -> Sight:
            self.hints.append(hint)
            assert [one.size_hw for one in features] == [one.size_hw for one in pictures]
            looked = look(backbone, squares_u8)
            head = PlainHead({UNNAMED: self.object or ()})
            return Sight(looked, Objects(tuple(predict(head, features)), looked))

        return see

    def _point(self, features: PlainFeatures) -> Pointable:
        """Cells that show the known object alone, which is a proposal too."""
        head = PlainHead({} if self.object is None else {UNNAMED: self.object})
        return Pointable(self._lit(), predict(head, [features])[0])

    def _extract(
        self, backbone: Backbone, pictures: Sequence[Picture], *, small: bool, mirrored: bool
    ) -> list[Any]:
        assert not small
        self.extracted += len(pictures)
        return [PlainFeatures(picture.size_hw) for picture in pictures]

    def _fit(
        self,
        examples: Sequence[Example],
        features: Mapping[str, tuple[Any, Any]],
        labels: Sequence[str],
        _questions: Sequence[Asked],
        identity: BackboneIdentity,
        progress: Callable[[float], None],
    ) -> Fitted:
        self.before_fit()
        self.fits.append([example.picture for example in examples])
        self.taught = list(examples)
        counts = {}
        for example in examples:
            others = [one for one in examples if one is not example] or list(examples)
            (found,) = predict(self._head(others, labels), [features[example.picture][0]])
            counts[example.picture] = judge(found, example.boxes)
        progress(1.0)
        summed: Counts = total(counts.values())
        return Fitted(
            self._head(examples, labels),
            {"f1_50": summed.f1_50, "f1_70": summed.f1_70},
            {"method": "median", "backbone": identity.name},
            counts,
        )

    def _head(self, examples: Sequence[Example], labels: Sequence[str]) -> PlainHead:
        boxes = {}
        for label in labels:
            shares = [
                box / np.array(example.boxes.size_hw[::-1] * 2)
                for example in examples
                for box, name in zip(example.boxes.xyxy_px, example.boxes.label, strict=True)
                if name == label
            ]
            if shares:
                corners = [0.0, 0.0, 0.01, 0.01] if self.spoil else np.median(shares, 0).tolist()
                boxes[label] = corners
        return PlainHead(boxes)


def predict(head: PlainHead, features: Sequence[PlainFeatures]) -> list[Boxes]:
    """The head's boxes on each picture."""
    found = []
    for one in features:
        scale = np.array(one.size_hw[::-1] * 2)
        xyxy = np.array([np.array(box) * scale for box in head.boxes.values()], np.float32)
        count = len(head.boxes)
        found.append(
            Boxes(xyxy.reshape(-1, 4), np.full(count, 0.9, np.float32), head.labels, one.size_hw)
        )
    return found

"""What jobs ask of the learning: features of pictures, fitting a head, predicting with it.

The functions are handed to the process, so that a test can train with a simpler one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from backend.domain import BackboneIdentity, Boxes, FloatArray, Picture, Points
from backend.learning import features, fit, pointed, project_head, unlabelled
from backend.learning.choices import Opinion
from backend.learning.examples import Example
from backend.learning.label_classifier import explained_backbone
from backend.learning.pointed import Pointable
from backend.learning.project_head import Asked
from backend.learning.promote import Counts, without_answers
from backend.learning.regression import Estimate, regression_backbone
from backend.learning.unlabelled import See
from backend.learning.versions import HeadVersions
from backend.settings import Settings
from backend.store.heads import HeadRef
from backend.vision.backbones import Backbone
from backend.vision.outlines import FormMap

_HEADS_HELD = 8


class Features(Protocol):
    """A picture as a head sees it."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the oriented original."""


class FeatureCache(Protocol):
    """Features by content hash, the backbone's digest and their kind."""

    def get(
        self, picture: str, backbone_digest: str, *, small: bool = False, mirrored: bool = False
    ) -> Any | None:
        """The features, None where they are not kept."""

    def put(
        self,
        picture: str,
        backbone_digest: str,
        features: Any,
        *,
        small: bool = False,
        mirrored: bool = False,
    ) -> None:
        """Keep them, in place of the oldest where room is short."""


class Extract(Protocol):
    """The only place of a forward pass for features."""

    def __call__(
        self, backbone: Backbone, pictures: Sequence[Picture], *, small: bool, mirrored: bool
    ) -> list[Any]:
        """Features of each picture, of the picture turned left to right if mirrored."""


class TrainedHead(Protocol):
    """A head that predicts. small: which kind of features it reads."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of boxes it knows."""

    @property
    def point_labels(self) -> tuple[str, ...]:
        """The labels of key points it knows."""

    @property
    def few(self) -> bool:
        """Whether it learned from too few pictures to be sure that no other label is meant."""

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls of whole pictures it answers."""

    @property
    def small(self) -> bool:
        """Whether it reads the finer kind of features."""

    def without(self, controls: Collection[str]) -> TrainedHead:
        """The same, leaving these controls of whole pictures alone."""

    def to_bytes(self) -> bytes:
        """As safetensors."""


@dataclass(frozen=True)
class Fitted:
    """A head with what its out-of-fold predictions were worth, in all and on each picture."""

    head: TrainedHead
    metrics: Mapping[str, float]
    settings: Mapping[str, Any]
    counts: Mapping[str, Counts]

    def without(self, controls: Collection[str]) -> Fitted:
        """The same, leaving these controls of choices alone; their metrics stay to be read."""
        if not controls:
            return self
        counts = without_answers(self.counts, controls)
        return Fitted(self.head.without(controls), self.metrics, self.settings, counts)


Progress = Callable[[float], None]
FeaturePair = tuple[Any, Any]
"""Features of a picture upright and mirrored."""

Fit = Callable[
    [
        Sequence[Example],
        Mapping[str, FeaturePair],
        Sequence[str],
        Sequence[Asked],
        BackboneIdentity,
        Progress,
    ],
    Fitted,
]


def no_sight(_backbone: Backbone) -> See | None:
    """Of a learning that knows nothing of objects."""
    return None


def no_opinions(_head: Any, pictures: Sequence[Any]) -> list[Mapping[str, Opinion]]:
    """Of a head that knows boxes alone."""
    return [{} for _ in pictures]


def no_estimates(_head: Any, pictures: Sequence[Any]) -> list[Mapping[str, Estimate]]:
    """Of a head that knows no values."""
    return [{} for _ in pictures]


def no_form(_head: Any, _label: str) -> FormMap | None:
    """Of a learning that knows of things only their boxes."""
    return None


def no_points(_head: Any, pictures: Sequence[Any]) -> list[Points]:
    """Of a head that knows no key points."""
    return [Points.empty(picture.size_hw) for picture in pictures]


def own_classes(backbone: Backbone, _head: Any, _name: str) -> Backbone:
    """Of a head that explains nothing: the backbone knows what it knew."""
    return backbone


@dataclass(frozen=True)
class Learner:
    """The learning as functions.

    side_px: side to which pictures are resized for features of a kind. wants_small: which
    kind these examples need. predict: boxes of each picture, best first. predict_choices:
    opinions on each picture by control; predict_numbers: estimates;
    predict_points: key points. see_objects: finds
    objects before anything was accepted, None for a backbone of which nothing is known.
    explaining: the backbone with what a head knows as its classes, where that has this name:
    labels, or controls of values; else as it is. pointable: reads features for what an
    annotator points at; None: cannot. cells: (C, h, w) of a picture's features of
    either kind, from which the things in boxes are cut out; None: they are not. form: what a
    head knows of the insides of a label's boxes.
    """

    cache: FeatureCache
    side_px: Callable[[bool], int]
    extract: Extract
    wants_small: Callable[[Sequence[Example]], bool]
    fit: Fit
    read_head: Callable[[bytes], TrainedHead]
    predict: Callable[[Any, Sequence[Any]], list[Boxes]]
    predict_choices: Callable[[Any, Sequence[Any]], Sequence[Mapping[str, Opinion]]] = no_opinions
    predict_numbers: Callable[[Any, Sequence[Any]], Sequence[Mapping[str, Estimate]]] = no_estimates
    predict_points: Callable[[Any, Sequence[Any]], Sequence[Points]] = no_points
    see_objects: Callable[[Backbone], See | None] = no_sight
    explaining: Callable[[Backbone, Any, str], Backbone] = own_classes
    pointable: Callable[[Backbone], Callable[[Any], Pointable]] | None = None
    cells: Callable[[Any], FloatArray] | None = None
    form: Callable[[Any, str], FormMap | None] = no_form

    def decode_side_px(self, backbone: Backbone, small: bool) -> int:
        """Side for which pictures are decoded: the same in training and prediction."""
        return max(backbone.size_px, self.side_px(small))

    def features_of(
        self, backbone: Backbone, pictures: Sequence[Picture], *, small: bool, mirrored: bool
    ) -> list[Any]:
        """Features of each picture, from the cache where it has them, else into it."""
        digest = backbone.identity.digest
        found = [
            self.cache.get(picture.content_hash, digest, small=small, mirrored=mirrored)
            for picture in pictures
        ]
        missing = [index for index, features in enumerate(found) if features is None]
        if missing:
            unknown = [pictures[index] for index in missing]
            made = self.extract(backbone, unknown, small=small, mirrored=mirrored)
            for index, features in zip(missing, made, strict=True):
                name = pictures[index].content_hash
                self.cache.put(name, digest, features, small=small, mirrored=mirrored)
                found[index] = features
        return found

    def cached_pair(
        self, backbone: Backbone, content_hash: str, *, small: bool
    ) -> FeaturePair | None:
        """A picture's features upright and mirrored, None where one of them is not kept."""
        digest = backbone.identity.digest
        upright, turned = (
            self.cache.get(content_hash, digest, small=small, mirrored=mirrored)
            for mirrored in (False, True)
        )
        return None if upright is None or turned is None else (upright, turned)


class PairsAsked(Mapping[str, FeaturePair]):
    """The features of many pictures, had when they are asked for and not kept in memory.

    names: of the pictures; may grow. pair_of: reads or makes the features of one.
    """

    def __init__(self, names: Collection[str], pair_of: Callable[[str], FeaturePair]) -> None:
        self._names = names
        self._pair_of = pair_of

    def __getitem__(self, name: str) -> FeaturePair:
        if name not in self._names:
            raise KeyError(name)
        return self._pair_of(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class HeadShelf:
    """The heads that were used last, ready to predict."""

    def __init__(self, versions: HeadVersions, read: Callable[[bytes], TrainedHead]) -> None:
        self._versions = versions
        self._read = read
        self._heads: OrderedDict[tuple[str, HeadRef], TrainedHead] = OrderedDict()

    def get(self, project_id: str, number: int) -> TrainedHead:
        """A project's head. Raises: UnknownName, ConfigError where it cannot be read."""
        # With its digest: after a restore another head may go by the same number.
        key = (project_id, self._versions.ref(project_id, number))
        if key not in self._heads:
            self._heads[key] = self._read(self._versions.content(project_id, number))
            while len(self._heads) > _HEADS_HELD:
                self._heads.popitem(last=False)
        self._heads.move_to_end(key)
        return self._heads[key]


def own_learner(settings: Settings) -> Learner:
    """The learning of ``backend.learning``, with its cache under DATA_DIR."""

    def fitted(
        examples: Sequence[Example],
        features_of: Mapping[str, FeaturePair],
        labels: Sequence[str],
        questions: Sequence[Asked],
        identity: BackboneIdentity,
        progress: Progress,
    ) -> Fitted:
        trained, report = project_head.fit_project(
            examples, features_of, labels, questions, identity, progress=progress
        )
        settings = trained.boxes.meta.settings if trained.boxes is not None else {}
        return Fitted(trained, report.metrics, dict(settings), report.per_picture)

    return Learner(
        cache=features.FeatureCache(settings.data_dir / "features", settings.feature_cache_bytes),
        side_px=lambda small: max(features.SMALL_SIZES_PX if small else features.SIZES_PX),
        extract=features.extract,
        wants_small=fit.wants_small,
        fit=fitted,
        read_head=project_head.ProjectHead.from_bytes,
        predict=project_head.predict,
        predict_choices=project_head.predict_choices,
        predict_numbers=project_head.predict_numbers,
        predict_points=project_head.predict_points,
        see_objects=lru_cache(maxsize=1)(unlabelled.see_with_prior),
        explaining=_explaining,
        pointable=lru_cache(maxsize=1)(pointed.pointable),
        cells=pointed.pointed_cells,
        form=project_head.ProjectHead.form,
    )


def _explaining(backbone: Backbone, head: project_head.ProjectHead, name: str) -> Backbone:
    if head.boxes is not None and name in head.boxes.labels:
        return explained_backbone(backbone, head.boxes)
    if any(one.measure.control == name for one in head.numbers):
        return regression_backbone(backbone, head.numbers)
    return backbone

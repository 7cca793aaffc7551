"""A set of labelled pictures, ready to be measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from backend.domain import Picture
from backend.evaluation.shelf import Shelf
from backend.evaluation.voc import ImageSet
from backend.jobs.learner import Learner, own_learner
from backend.learning.examples import Example
from backend.media.decode import content_hash, decode_picture
from backend.settings import load_settings
from backend.vision.backbones import Backbone
from backend.vision.detect import LabelQuery

MOST_PIXELS = 100_000_000
_AGAIN = "#"

CACHE_BYTES = 64 * 1024**3
"""Nothing is thrown out in the middle of a measurement."""


@dataclass(frozen=True)
class Bed:
    """name: of the data. ids: of the pictures, in the order in which they count.

    examples: what is true of each, by id. labels: all that may be asked for.
    """

    name: str
    ids: tuple[str, ...]
    examples: dict[str, Example]
    labels: tuple[LabelQuery, ...]
    shelf: Shelf


def bed_of(
    images: ImageSet,
    backbone: Backbone,
    learner: Learner,
    on_forward: Callable[[int], None] = lambda count: None,
) -> Bed:
    """The set with its pictures in order of their file names. Labels are known by name alone."""
    ids = picture_ids([content_hash(one.path.read_bytes()) for one in images.pictures])
    path_of = {name: one.path for name, one in zip(ids, images.pictures, strict=True)}

    def read(picture_id: str) -> Picture:
        return decode_picture(path_of[picture_id].read_bytes(), max_pixels=MOST_PIXELS)

    examples = {
        name: Example(name, one.truth, np.zeros((0, 4), np.float32))
        for name, one in zip(ids, images.pictures, strict=True)
    }
    labels = tuple(LabelQuery(name, (name,)) for name in images.labels)
    return Bed(
        images.name, ids, examples, labels, Shelf(backbone, learner, read, _hash_of, on_forward)
    )


def picture_ids(hashes: Sequence[str]) -> tuple[str, ...]:
    """The hashes, with a number behind those that came before: a set may hold a file twice."""
    seen: Counter[str] = Counter()
    ids = []
    for one in hashes:
        ids.append(f"{one}{_AGAIN}{seen[one]}" if seen[one] else one)
        seen[one] += 1
    return tuple(ids)


@contextmanager
def measuring_learner(folder: Path | None) -> Iterator[Learner]:
    """The product's learning, with features kept in a folder, or no longer than needed."""
    with TemporaryDirectory(prefix="features-") as temporary:
        kept_under = Path(temporary) if folder is None else folder
        yield own_learner(load_settings(data_dir=kept_under, feature_cache_bytes=CACHE_BYTES))


def _hash_of(picture_id: str) -> str:
    return picture_id.partition(_AGAIN)[0]

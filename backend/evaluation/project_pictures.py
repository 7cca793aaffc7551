"""A project's pictures, fetched once and kept for the time of a measurement."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from backend.domain import Picture
from backend.errors import BackendError
from backend.evaluation.bed import Bed
from backend.evaluation.project import Project
from backend.evaluation.shelf import Shelf
from backend.jobs.learner import Learner
from backend.jobs.lessons import example_of
from backend.labelstudio.tokens import TokenSource
from backend.learning.examples import Example
from backend.media.decode import content_hash, decode_picture
from backend.media.fetch import MediaFetcher
from backend.settings import Settings
from backend.vision.backbones import Backbone
from backend.vision.detect import LabelQuery

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Fetched:
    """Pictures in a folder. hash_of: content hash by address, of those that could be had."""

    folder: Path
    hash_of: dict[str, str]
    most_pixels: int

    def read(self, picture_hash: str) -> Picture:
        """Decode one. Raises: MediaError."""
        return decode_picture(
            (self.folder / picture_hash).read_bytes(), max_pixels=self.most_pixels
        )


@contextmanager
def fetched_pictures(
    settings: Settings,
    project_id: int,
    wanted: Sequence[tuple[str, int]],
    on_fetched: Callable[[], None] = lambda: None,
) -> Iterator[Fetched]:
    """Fetch and check these addresses (with their task ids), a few at a time.

    What cannot be had is logged and left out.
    """
    tokens = None
    if settings.can_push:
        url, key = settings.label_studio_url, settings.label_studio_api_key
        tokens = TokenSource(url, key, settings.label_studio_timeout_s)
    with (
        TemporaryDirectory(prefix="pictures-") as folder,
        closing(MediaFetcher(settings, tokens)) as fetcher,
        ThreadPoolExecutor(settings.fetch_threads) as pool,
    ):
        kept = Fetched(Path(folder), {}, settings.media_pixels)

        def fetch(one: tuple[str, int]) -> str | None:
            address, task_id = one
            try:
                encoded = fetcher.read(address, task_id, project_id)
                name = content_hash(encoded)
                decode_picture(encoded, max_pixels=kept.most_pixels)
            except BackendError as error:
                log.warning("picture_left_out", task=task_id, code=error.code, reason=error.what)
                return None
            # Renamed into place: another thread may hold the same picture, got elsewhere.
            part = kept.folder / f"{name}.{threading.get_ident()}"
            part.write_bytes(encoded)
            part.replace(kept.folder / name)
            return name

        unique = list(dict(wanted).items())
        for (address, _), name in zip(unique, pool.map(fetch, unique), strict=True):
            on_fetched()
            if name is not None:
                kept.hash_of[address] = name
        yield kept


def bed_of_project(
    project: Project,
    pictures: Fetched,
    backbone: Backbone,
    learner: Learner,
    on_forward: Callable[[int], None] = lambda count: None,
) -> Bed:
    """The accepted pictures in the order in which they were accepted; of twins the later."""
    examples: dict[str, Example] = {}
    labels: dict[str, LabelQuery] = {}
    for lesson in project.lessons:
        name = pictures.hash_of.get(lesson.address)
        if name is None:
            continue
        examples.pop(name, None)  # so that it stands where it was accepted last
        examples[name] = example_of(lesson, name, pictures.read(name).size_hw)
        drawn = (look for look in lesson.looks if look.control.kind != "choices")
        for one in (label for look in drawn for label in look.labels):
            labels.setdefault(one.value, LabelQuery(one.value, one.names))
    shelf = Shelf(backbone, learner, pictures.read, lambda name: name, on_forward)
    return Bed(f"project {project.id}", tuple(examples), examples, tuple(labels.values()), shelf)

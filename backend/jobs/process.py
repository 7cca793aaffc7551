"""What one worker process keeps between its jobs.

RQ calls a job by the name of a function with the job's arguments and nothing else, and
the model must outlive every job. So the state of the process hangs on one module-level
holder: filled once by ``hold`` before the first job, read by the jobs through ``current``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from backend.errors import JobError
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings
from backend.store.counters import Counters
from backend.store.deliveries import Deliveries
from backend.store.predictions import PredictionCache
from backend.store.projects import ProjectStore

if TYPE_CHECKING:  # pushes alone need neither torch nor OpenCV
    from backend.jobs.learner import HeadShelf, Learner
    from backend.jobs.recent import RecentPictures
    from backend.jobs.room import Room
    from backend.learning.ledger import Ledger
    from backend.learning.versions import HeadVersions
    from backend.media.fetch import MediaFetcher
    from backend.vision.backbones import Backbone


@dataclass(frozen=True)
class Process:
    """Connections and model of a worker process.

    label_studio: None without an API key. pool: threads that fetch and decode. heads: those
    of versions that were used last. recent: pictures that annotators point at. room: how
    many pictures the device takes at once.
    """

    settings: Settings
    connection: redis.Redis
    backbone: Backbone
    fetcher: MediaFetcher
    label_studio: LabelStudioClient | None
    pool: ThreadPoolExecutor
    cache: PredictionCache
    projects: ProjectStore
    deliveries: Deliveries
    counters: Counters
    ledger: Ledger
    versions: HeadVersions
    learner: Learner
    heads: HeadShelf
    recent: RecentPictures
    room: Room

    def close(self) -> None:
        """Close connections and end the threads; Redis stays open, it may be another's."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.fetcher.close()
        if self.label_studio is not None:
            self.label_studio.close()


def prediction_cache(settings: Settings, connection: redis.Redis) -> PredictionCache:
    """The cache of finished predictions within the settings' bounds."""
    return PredictionCache(
        connection,
        max_items=settings.prediction_cache_items,
        ttl_s=settings.prediction_cache_ttl_s,
        failure_ttl_s=settings.failure_cache_ttl_s,
    )


class _Holder:
    process: Process | None = None


_HOLDER = _Holder()


def hold(process: Process) -> None:
    """Make this the process's state, closing an earlier one."""
    release()
    _HOLDER.process = process


def release() -> None:
    """Close the state and forget it."""
    if _HOLDER.process is not None:
        _HOLDER.process.close()
        _HOLDER.process = None


def runtime_form() -> str:
    """What computes this process's forward pass, "" where no model is held."""
    return "" if _HOLDER.process is None else _HOLDER.process.backbone.runtime.form


def current() -> Process:
    """The state. Raises: JobError before ``hold``."""
    if _HOLDER.process is None:
        raise JobError(
            "A job reached a process that has loaded no model.",
            "Start workers with `python -m backend worker`, not with RQ's own command.",
        )
    return _HOLDER.process

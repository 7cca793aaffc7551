"""Getting a worker process ready before its first job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import redis

from backend.domain import BackboneIdentity
from backend.jobs.agreement import agreed_backbone
from backend.jobs.learner import HeadShelf, Learner, own_learner
from backend.jobs.process import Process, hold, prediction_cache
from backend.jobs.recent import RecentPictures
from backend.jobs.room import Room
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.tokens import TokenSource
from backend.learning.ledger import Ledger
from backend.learning.versions import HeadVersions
from backend.media.fetch import MediaFetcher
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.counters import Counters
from backend.store.deliveries import Deliveries
from backend.store.fleet import Fleet
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.kept_choices import KeptChoices


def warm(
    settings: Settings,
    device: str,
    *,
    connection: redis.Redis | None = None,
    backbone: Backbone | None = None,
    learner: Learner | None = None,
) -> BackboneIdentity:
    """Load the model and open the connections that this process's jobs use; says what it is.

    connection, backbone, learner: taken instead of opening, loading and making one.
    Raises: UnknownName, WeightsUnavailable, StoreUnavailable.
    """
    connection = connection or connect(settings.redis_url)
    backbone = backbone or load_backbone(
        agreed_backbone(settings, Fleet(connection)),
        settings.backbone_weights,
        device,
        settings.runtime,
        KeptChoices.under(settings.data_dir),
    )
    tokens, label_studio = None, None
    if settings.can_push:
        url, key = settings.label_studio_url, settings.label_studio_api_key
        tokens = TokenSource(url, key, settings.label_studio_timeout_s)
        label_studio = LabelStudioClient(url, key, settings.label_studio_timeout_s, tokens=tokens)
    learner = learner or own_learner(settings)
    counters = Counters(connection)
    versions = HeadVersions(HeadStore(connection, most=settings.heads_kept))
    hold(
        Process(
            settings=settings,
            connection=connection,
            backbone=backbone,
            fetcher=MediaFetcher(settings, tokens),
            label_studio=label_studio,
            pool=ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="pictures"),
            cache=prediction_cache(settings, connection),
            projects=ProjectStore(connection),
            deliveries=Deliveries(connection),
            counters=counters,
            ledger=Ledger(LedgerStore(connection)),
            versions=versions,
            learner=learner,
            heads=HeadShelf(versions, learner.read_head),
            recent=RecentPictures(),
            room=Room(settings.batch_pictures, counters),
        )
    )
    return backbone.identity

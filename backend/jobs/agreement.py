"""One backbone for all workers, where BACKBONE=auto leaves it to what can be had.

Workers that may choose load one after the other. Each takes what the living ones run, and
only the first tries the download: so one machine asks once, and a machine without a way
out does not disagree with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from redis.exceptions import LockError

from backend.settings import Settings
from backend.store import keys
from backend.store.fleet import Fleet
from backend.vision.choice import stands_for

TURN_S = 30.0
"""Longest turn: the patience with a download and time to load. After it the next one begins
although nothing was told, for the worker was killed."""


@contextmanager
def in_turn(settings: Settings, connection: redis.Redis) -> Iterator[None]:
    """Hold the turn to load a backbone and to tell which; nothing where there is no choice."""
    if not may_choose(settings):
        yield
        return
    turn = connection.lock(keys.backbone_turn(), timeout=TURN_S, blocking_timeout=TURN_S)
    held = turn.acquire()
    try:
        yield
    finally:
        if held:
            with suppress(LockError):
                turn.release()


def agreed_backbone(settings: Settings, fleet: Fleet) -> str:
    """The backbone to load: that of living workers where there is a choice, else BACKBONE."""
    told = fleet.identity()
    if told is None or not may_choose(settings) or told.name not in stands_for(settings.backbone):
        return settings.backbone
    living = fleet.alive(settings.worker_lost_s)
    runs = any(worker.state == "ready" and worker.backbone == told.name for worker in living)
    return told.name if runs else settings.backbone


def may_choose(settings: Settings) -> bool:
    """Whether what can be had decides: BACKBONE=auto without BACKBONE_WEIGHTS."""
    return len(stands_for(settings.backbone)) > 1 and settings.backbone_weights is None

"""Which tasks were predicted last: a short list of names, the predictions stay in the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.client import Pipeline

from backend.store import keys

MOST = 12
"""Predictions that are listed; enough to see what a version does."""


@dataclass(frozen=True, slots=True)
class RecentPrediction:
    """A prediction as it lies in the cache. made_at_s: since the epoch, by Redis's clock."""

    project_id: str
    task_id: int
    made_at_s: float
    prediction: Mapping[str, Any]


class RecentPredictions:
    """The predictions that workers made last, of all projects."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def note(self, project_id: str, key_of: Mapping[int, str], within: Pipeline) -> None:
        """Put tasks before those noted earlier. key_of: cache key by task, oldest first."""
        newest = list(key_of.items())[-MOST:]
        if newest:
            project_id = keys.project_id_of(project_id)
            told = [json.dumps([project_id, task_id, key]) for task_id, key in newest]
            within.lpush(keys.recent_predictions(), *told)
            within.ltrim(keys.recent_predictions(), 0, MOST - 1)

    def read(self) -> list[RecentPrediction]:
        """Newest first, without those that the cache has dropped; two round trips."""
        found: Any = self._redis.lrange(keys.recent_predictions(), 0, MOST - 1)
        named = [tuple(json.loads(text)) for text in dict.fromkeys(found)]
        with self._redis.pipeline(transaction=False) as pipe:
            for _, _, key in named:
                pipe.get(keys.prediction(key))
                pipe.zscore(keys.predictions_by_age("finished"), key)
            replies = pipe.execute()
        return [
            RecentPrediction(project_id, task_id, made_us / 1e6, json.loads(value[1:]))
            for (project_id, task_id, _), value, made_us in zip(
                named, replies[::2], replies[1::2], strict=True
            )
            if value is not None and made_us is not None
        ]

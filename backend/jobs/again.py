"""Predictions that failed once reach Label Studio once all the same."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from backend.labelstudio.client import LabelStudioClient
from backend.store.clock import SharedClock
from backend.store.deliveries import Deliveries


def defer_lacking(
    connection: redis.Redis,
    client: LabelStudioClient,
    project_id: str,
    version: str,
    key_of: Mapping[int, str],
) -> None:
    """Have predictions pushed, but for those that Label Studio got meanwhile another way.

    key_of: cache key by task. Raises: LabelStudioError where it cannot be asked.
    """
    asked_at_s = SharedClock(connection)()
    have = client.predictions_of(key_of, int(project_id), version)
    lacking = {task_id: key for task_id, key in key_of.items() if task_id not in have}
    Deliveries(connection).defer(project_id, version, lacking, asked_at_s=asked_at_s)

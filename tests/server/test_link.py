"""Connecting late, and not too often."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import StoreUnavailable
from backend.jobs.queues import queue
from backend.server.link import RETRY_S, StoreLink
from backend.settings import load_settings
from backend.store.embedded import EmbeddedRedis


@pytest.mark.slow
def test_tries_again_once_a_second_at_most(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as url:
        pass
    now_s = [100.0]
    link = StoreLink(load_settings(redis_url=url), clock=lambda: now_s[0])
    with pytest.raises(StoreUnavailable) as first:
        link.parts()
    with EmbeddedRedis(tmp_path) as again:
        assert again == url
        now_s[0] += RETRY_S / 2
        with pytest.raises(StoreUnavailable) as second:
            link.parts()
        assert second.value is first.value  # told again, not tried again
        now_s[0] += RETRY_S
        parts = link.parts()
        assert parts.projects.all_ids() == []
        assert link.parts() is parts
        parts.redis.close()


@pytest.mark.slow
def test_the_first_connection_asks_for_what_was_told_meanwhile(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as url:
        settings = load_settings(redis_url=url, label_studio_api_key="key")
        link = StoreLink(settings)
        before = link.parts()
        assert queue(before.redis, "train").job_ids == []  # no project is known
        before.projects.remember_setup("7", label_config="<View/>", extra_params={}, hostname="")
        before.redis.close()
        parts = StoreLink(settings).parts()
        (job_id,) = queue(parts.redis, "train").job_ids
        assert job_id.startswith("sync")
        StoreLink(settings).parts()  # another server within the minute
        assert queue(parts.redis, "train").job_ids == [job_id]
        parts.redis.close()

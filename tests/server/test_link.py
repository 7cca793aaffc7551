"""Connecting late, and not too often."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import StoreUnavailable
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

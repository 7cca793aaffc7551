"""Features of accepted pictures: read when asked for, made again where the cache lost them."""

from __future__ import annotations

import time

from backend.jobs.process import current
from backend.jobs.training import request_training
from tests.jobs.conftest import Road, drawn_png
from tests.jobs.plain_learner import PlainCache
from tests.jobs.test_train import Team, region


def lose_features() -> None:
    cache = current().learner.cache
    assert isinstance(cache, PlainCache)
    cache.kept.clear()


def test_what_the_cache_lost_is_fetched_and_made_again(road: Road) -> None:
    team = Team(road)
    team.accept(road.pictures.add(3), lambda: [region()])
    road.learning.before_fit = lose_features
    outcome = team.train()
    assert outcome["published"] is True
    assert outcome["pictures"] == 3
    assert road.learning.extracted == 2 * 6, "upright and mirrored, before and during the fit"


def test_a_picture_that_changed_meanwhile_ends_the_training(road: Road) -> None:
    team = Team(road)
    team.accept(road.pictures.add(2), lambda: [region()])

    def change() -> None:
        lose_features()
        for path in road.pictures.pictures:
            road.pictures.pictures[path] = drawn_png(50)

    road.learning.before_fit = change
    job_id = request_training(road.connection, road.settings, "1", time.time(), asked=True)
    road.work("train")
    view = road.dispatcher.job(job_id)
    assert view.state == "failed"
    assert "changed while it was learned from" in view.reason
    assert team.head == 0

"""Each prediction reaches Label Studio once, whoever brings it."""

from __future__ import annotations

import threading

import pytest
import redis

from backend.store.connection import connect
from backend.store.deliveries import Claimed, Deliveries

P, V = "12.1795224262", "net-0-ab"
NOW = 1_000_000.0


def test_nothing_deferred_nothing_to_do(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {})
    deliveries.finished(P, [], NOW)
    deliveries.give_back(P, [])
    assert deliveries.take_inline(P, V, [], NOW) == set()
    assert deliveries.claim(P, 10, NOW) == []
    assert deliveries.stale_claims(P, 0, NOW) == []
    assert deliveries.pending_count(P) == 0
    assert deliveries.projects_with_pending() == []


def test_a_deferred_task_is_claimed_once_oldest_first(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {30: "k30", 4: "k4"})
    deliveries.defer(P, V, {5: "k5"})
    deliveries.defer(P, V, {30: "k30"})  # asked for again: keeps its place
    assert deliveries.pending_count("12") == 3
    assert deliveries.projects_with_pending() == ["12"]
    assert deliveries.claim(P, 0, NOW) == []
    first = deliveries.claim(P, 2, NOW)
    assert first == [Claimed(30, V, "k30"), Claimed(4, V, "k4")]
    assert deliveries.claim(P, 10, NOW) == [Claimed(5, V, "k5")]
    assert deliveries.claim(P, 10, NOW) == []
    assert deliveries.pending_count(P) == 0
    assert deliveries.projects_with_pending() == ["12"], "claims still have to be finished"
    deliveries.finished(P, first, NOW)
    deliveries.finished(P, [Claimed(5, V, "k5")], NOW)
    deliveries.finished(P, first, NOW)  # twice is harmless
    assert deliveries.projects_with_pending() == []


def test_a_newer_version_takes_the_place_of_an_older(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, "net-0-aa", {1: "old"})
    deliveries.defer(P, "net-1-bb", {1: "new"})
    assert deliveries.claim(P, 10, NOW) == [Claimed(1, "net-1-bb", "new")]


def test_a_task_being_pushed_is_not_deferred_again(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k"})
    deliveries.claim(P, 1, NOW)
    deliveries.defer(P, V, {1: "k"})
    assert deliveries.pending_count(P) == 0
    deliveries.defer(P, "net-1-bb", {1: "k"})
    assert deliveries.pending_count(P) == 1, "another version is another prediction"


@pytest.mark.parametrize(
    ("pushed_at_s", "asked_at_s", "expected"),
    [
        (NOW, NOW - 5, set()),
        (NOW, NOW, set()),
        (NOW, NOW + 1.9, set()),
        (NOW, NOW + 2.1, {1}),
        (NOW, NOW + 3000, {1}),
    ],
    ids=["asked before the push", "at once", "might not have seen it", "lost it", "much later"],
)
def test_an_answer_after_a_push_only_when_label_studio_lost_it(
    connection: redis.Redis, pushed_at_s: float, asked_at_s: float, expected: set[int]
) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k"})
    deliveries.finished(P, deliveries.claim(P, 1, pushed_at_s - 1), pushed_at_s)
    assert deliveries.take_inline(P, V, [1], asked_at_s, now_s=asked_at_s + 1) == expected


def test_what_was_dropped_can_be_deferred_at_once(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k"})
    deliveries.drop(P, deliveries.claim(P, 1, NOW))
    assert deliveries.projects_with_pending() == []
    deliveries.defer(P, V, {1: "k"}, asked_at_s=NOW)
    assert deliveries.pending_count(P) == 1


def test_what_is_deferred_while_a_pusher_gives_up_on_it_waits_again(
    connection: redis.Redis,
) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k1", 2: "k2", 3: "k3"})
    one, two, three = deliveries.claim(P, 3, NOW)
    deliveries.defer(P, V, {1: "k1", 2: "k2"}, asked_at_s=NOW)
    assert deliveries.pending_count(P) == 0
    deliveries.drop(P, [one, three])
    assert [item.task_id for item in deliveries.claim(P, 9, NOW)] == [1]
    deliveries.finished(P, [one, two], NOW)
    deliveries.defer(P, V, {3: "k3"}, asked_at_s=NOW)
    deliveries.drop(P, deliveries.claim(P, 9, NOW))
    assert deliveries.projects_with_pending() == []


def test_an_answer_takes_pending_tasks_out_but_no_claimed_ones(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k1", 2: "k2", 3: "k3"})
    (claimed,) = deliveries.claim(P, 1, NOW)
    assert deliveries.take_inline(P, V, [1, 2, 99], NOW, now_s=NOW) == {2, 99}
    assert deliveries.take_inline(P, V, [2], NOW, now_s=NOW) == {2}, "a cached answer may repeat"
    assert [item.task_id for item in deliveries.claim(P, 10, NOW)] == [3]
    deliveries.give_back(P, [claimed])
    assert deliveries.take_inline(P, V, [1], NOW, now_s=NOW) == {1}
    assert deliveries.take_inline(P, "net-1-bb", [3], NOW, now_s=NOW) == {3}


def test_a_task_brought_since_the_request_is_not_deferred(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    # Two requests for the same tasks: the second answers 1, a push brings 2, then the
    # first runs into its deadline with both.
    deliveries.take_inline(P, V, [1], NOW + 1, now_s=NOW + 3)
    deliveries.defer(P, V, {2: "k2"})
    deliveries.finished(P, deliveries.claim(P, 1, NOW + 3), NOW + 4)
    deliveries.defer(P, V, {1: "k1", 2: "k2", 3: "k3"}, asked_at_s=NOW)
    assert [item.task_id for item in deliveries.claim(P, 10, NOW + 5)] == [3]
    # A request that came later asks because Label Studio has lost them.
    deliveries.defer(P, V, {1: "k1", 2: "k2"}, asked_at_s=NOW + 60)
    assert [item.task_id for item in deliveries.claim(P, 10, NOW + 61)] == [1, 2]


def test_what_was_given_back_keeps_its_place(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k1", 2: "k 2"})
    claimed = deliveries.claim(P, 2, NOW)
    deliveries.defer(P, V, {3: "k3"})
    deliveries.give_back(P, claimed)
    deliveries.give_back(P, claimed)  # twice is harmless
    assert deliveries.claim(P, 9, NOW) == [*claimed, Claimed(3, V, "k3")]
    assert claimed[1].key == "k 2"


def test_giving_back_does_not_undo_a_newer_version(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, "net-0-aa", {1: "old"})
    claimed = deliveries.claim(P, 1, NOW)
    deliveries.defer(P, "net-1-bb", {1: "new"})
    deliveries.give_back(P, claimed)
    assert deliveries.claim(P, 9, NOW) == [Claimed(1, "net-1-bb", "new")]


def test_a_dead_pushers_claims_go_to_one_other(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k1"})
    claimed = deliveries.claim(P, 1, NOW)
    assert deliveries.stale_claims(P, 30, NOW + 29) == []
    assert deliveries.stale_claims(P, 30, NOW + 31) == claimed
    assert deliveries.stale_claims(P, 30, NOW + 32) == [], "held anew by the first that asked"
    assert deliveries.stale_claims(P, 30, NOW + 62) == claimed
    deliveries.finished(P, claimed, NOW + 63)
    assert deliveries.stale_claims(P, 30, NOW + 200) == []


def test_pushes_are_forgotten_after_an_hour(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer(P, V, {1: "k1", 2: "k2"})
    one, two = deliveries.claim(P, 2, NOW)
    deliveries.finished(P, [one], NOW)
    assert deliveries.take_inline(P, V, [1], NOW, now_s=NOW) == set()
    deliveries.finished(P, [two], NOW + 3601)
    assert deliveries.take_inline(P, V, [1, 2], NOW, now_s=NOW + 3601) == {1}


def test_projects_do_not_mix(connection: redis.Redis) -> None:
    deliveries = Deliveries(connection)
    deliveries.defer("1", V, {1: "k"})
    deliveries.defer("2", V, {1: "k"})
    deliveries.claim("1", 1, NOW)
    assert deliveries.take_inline("2", V, [1], NOW, now_s=NOW) == {1}
    assert deliveries.projects_with_pending() == ["1"]


def test_pushers_and_answers_at_once_bring_each_task_once(redis_url: str) -> None:
    tasks = range(300)
    brought: list[int] = []
    gate = threading.Barrier(4)
    with connect(redis_url) as client:
        Deliveries(client).defer(P, V, {task: f"k{task}" for task in tasks})

    def push() -> None:
        with connect(redis_url) as client:
            deliveries = Deliveries(client)
            gate.wait()
            while claimed := deliveries.claim(P, 7, NOW):
                deliveries.finished(P, claimed, NOW)
                brought.extend(item.task_id for item in claimed)

    def answer() -> None:
        with connect(redis_url) as client:
            deliveries = Deliveries(client)
            gate.wait()
            for start in range(290, -1, -10):
                brought.extend(deliveries.take_inline(P, V, range(start, start + 10), NOW, NOW))

    threads = [threading.Thread(target=work) for work in (push, push, push, answer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(brought) == list(tasks)

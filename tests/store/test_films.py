from __future__ import annotations

import redis

from backend.store import keys
from backend.store.films import FilmBoard, FilmState


def test_parts_are_told_once(connection: redis.Redis) -> None:
    assert FilmBoard(connection, "a").planned() == []
    assert FilmBoard(connection, "a").plan([[0, 10], [10, None]]) == [[0, 10], [10, None]]
    assert FilmBoard(connection, "a").plan([[0, None]]) == [[0, 10], [10, None]], "those in force"
    assert 0 < int(connection.ttl(keys.film("a"))) <= 24 * 3600


def test_a_part_is_taken_by_one(connection: redis.Redis) -> None:
    first, second = (FilmBoard(connection, "a") for _ in range(2))
    first.plan([[0, 10], [10, None]])
    second.planned()
    assert first.take(0, "one", "")
    assert not second.take(0, "two", "")
    assert second.take(1, "two", "")
    assert second.take(0, "two", "one"), "from a job that was seen to be dead"
    assert not first.take(0, "three", "one"), "it was another's meanwhile"
    second.give_back(0, "one")
    assert second.state().takers == {0: "two", 1: "two"}
    second.give_back(0, "two")
    assert second.state().takers[0] == ""


def test_what_came_of_parts(connection: redis.Redis) -> None:
    board = FilmBoard(connection, "a")
    board.plan([[0, None]])
    assert board.state() == FilmState({}, frozenset(), {})
    board.looked(0, 7)
    board.done(0, {"tracks": []})
    assert board.state() == FilmState({}, frozenset({0}), {0: 7})
    assert board.outcomes(1) == [{"tracks": []}]
    board.finished()
    assert 0 < int(connection.ttl(keys.film("a"))) <= 600


def test_who_comes_late_leaves_nothing(connection: redis.Redis) -> None:
    late = FilmBoard(connection, "a")
    late.plan([[0, None]])
    late.take(0, "late", "")
    FilmBoard(connection, "a").forget()
    late.looked(0, 5)
    late.done(0, "old")
    assert not late.take(0, "late", "")
    assert not connection.exists(keys.film("a"))
    FilmBoard(connection, "a").plan([[0, 10], [10, None]])
    late.done(0, "old")
    assert FilmBoard(connection, "a").state().done == frozenset(), "it was planned otherwise"

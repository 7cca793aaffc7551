"""Projects as /setup described them."""

from __future__ import annotations

import pytest
import redis

from backend.errors import ConfigError
from backend.store import keys
from backend.store.heads import NO_HEAD, HeadRef
from backend.store.projects import ProjectState, ProjectStore


def test_an_unknown_project_is_none(connection: redis.Redis) -> None:
    store = ProjectStore(connection)
    assert store.get("1") is None
    with pytest.raises(ConfigError, match="Known: none yet"):
        store.require("1")
    assert store.get_config("f") is None
    assert store.head("1") == NO_HEAD
    assert store.all_ids() == []


def test_a_later_setup_takes_the_place_of_an_earlier(connection: redis.Redis) -> None:
    store = ProjectStore(connection)
    first = store.remember_setup(
        "12.1795224262", label_config="<View/>", extra_params={}, hostname=""
    )
    former = store.remember_setup(
        "12", label_config="<View>ä</View>", extra_params={"a": [1]}, hostname="http://ls:8080"
    )
    assert (first, former) == ("", "<View/>")
    connection.set(keys.head_pointer("12"), "3 feed beef")
    head = HeadRef(3, "feed", "beef")
    expected = ProjectState("12", "<View>ä</View>", {"a": [1]}, "http://ls:8080", head)
    assert store.get("12.9") == store.get("12") == store.require("12") == expected
    assert store.head("12.9") == head
    assert store.all_ids() == ["12"]


def test_ids_come_in_order_of_their_numbers(connection: redis.Redis) -> None:
    store = ProjectStore(connection)
    for project in ("10", "9", "x", "100"):
        store.remember_setup(project, label_config="", extra_params={}, hostname="")
    assert store.all_ids() == ["9", "10", "100", "x"]


def test_a_configuration_is_kept_for_a_while(connection: redis.Redis) -> None:
    store = ProjectStore(connection)
    store.put_config("f", "<View>ä</View>")
    assert store.get_config("f") == "<View>ä</View>"
    assert int(str(connection.ttl(keys.config("f")))) > 24 * 3600

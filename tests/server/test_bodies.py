"""Parsing of bodies."""

from __future__ import annotations

import time
from typing import Any

import pydantic_core
import pytest

from backend.errors import RequestError
from backend.server.bodies import PredictBody, SetupBody, parse, parse_object


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        (None, ""),
        ("", ""),
        (7, "7"),
        ("7", "7"),
        ("7.1795224262", "7"),
        (7.5, "7"),
        (0, "0"),
    ],
)
def test_project_id(project: Any, expected: str) -> None:
    body = pydantic_core.to_json({"tasks": [], "project": project})
    assert parse(PredictBody, body).project == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("plain", {}),
        ("[1]", {}),
        ([1], {}),
        (0.4, {}),
        (True, {}),
        ("[" * 300, {}),
    ],
    ids=[
        "null", "object", "text", "empty", "plain", "list-text", "list", "number", "bool", "deep",
    ],
)  # fmt: skip
def test_extra_params(given: Any, expected: dict[str, Any]) -> None:
    body = pydantic_core.to_json({"extra_params": given})
    assert parse(SetupBody, body).extra_object() == expected


def test_only_id_and_data_of_a_task_are_kept() -> None:
    body = b'{"tasks":[{"id":3,"data":{"image":"a"},"annotations":[{"id":1}]},{"data":{}}]}'
    assert parse(PredictBody, body).model_dump()["tasks"] == [
        {"id": 3, "data": {"image": "a"}},
        {"id": None, "data": {}},
    ]


def test_the_token_is_not_even_parsed() -> None:
    body = parse(SetupBody, b'{"project":"1","access_token":"abcdef"}')
    assert "abcdef" not in repr(body)


BAD = {
    "empty": b"",
    "not-json": b"tasks=1",
    "list": b"[]",
    "null": b"null",
    "cut": b'{"tasks":[',
    "lone-surrogate": b'{"tasks":[],"project":"\\ud800"}',
    "not-utf8": b'{"tasks":[],"project":"\xff"}',
    "deep": b'{"tasks":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge-number": b'{"tasks":[{"id":1,"data":{"a":' + b"9" * 5000 + b"}}]}",
    "huge-id": b'{"tasks":[{"id":99999999999999999999,"data":{}}]}',
    "negative-id": b'{"tasks":[{"id":-1,"data":{}}]}',
    "id-in-words": b'{"tasks":[{"id":"one","data":{}}]}',
    "tasks-object": b'{"tasks":{}}',
    "no-tasks": b'{"project":"1"}',
    "task-null": b'{"tasks":[null]}',
    "data-list": b'{"tasks":[{"id":1,"data":[]}]}',
    "no-data": b'{"tasks":[{"id":1}]}',
    "project-list": b'{"tasks":[],"project":[1]}',
    "project-bool": b'{"tasks":[],"project":true}',
    "project-path": b'{"tasks":[],"project":"../1"}',
    "project-nul": b'{"tasks":[],"project":"1\\u0000"}',
    "project-infinite": b'{"tasks":[],"project":1e999}',
    "config-number": b'{"tasks":[],"label_config":5}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(PredictBody, body)
    assert caught.value.status == 422
    assert caught.value.what.startswith("The request is wrong: ")
    assert len(caught.value.what) < 1000


def test_at_most_three_problems_are_told() -> None:
    with pytest.raises(RequestError) as caught:
        parse(PredictBody, b'{"tasks":[1,2,3,4,5]}')
    assert "tasks.2" in caught.value.what
    assert "tasks.3" not in caught.value.what
    assert "and 2 more" in caught.value.what


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b'"x"'])
def test_parse_object_refuses_what_is_none(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_object(body)


def test_megabytes_of_annotations_are_skipped_quickly() -> None:
    brush = {"result": [{"value": {"rle": list(range(20_000))}}]}
    tasks = [{"id": i, "data": {"image": "a"}, "annotations": [brush]} for i in range(100)]
    body = pydantic_core.to_json({"tasks": tasks})
    assert len(body) > 10_000_000
    started_s = time.process_time()
    assert len(parse(PredictBody, body).tasks) == 100
    assert time.process_time() - started_s < 2

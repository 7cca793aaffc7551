"""Every route, asked with what its OpenAPI description allows and what it forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.server.app import create_app
from backend.settings import load_settings
from tests.server.conftest import LABEL_CONFIG, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(redis_server: str) -> Iterator[str]:
    redis.Redis.from_url(redis_server).flushall()
    app = create_app(
        load_settings(
            redis_url=redis_server,
            predict_deadline_without_key_s=0.05,
            request_bytes=1_000_000,
        )
    )
    with serving(app) as base:
        yield base


def nothing_broke(_context: Any, response: Any, _case: Any) -> None:
    """503 and 504 are answers: no worker runs here. Which statuses may come is another check."""
    assert response.status_code not in (500, 502), response.text


schema = schemathesis.openapi.from_dict(create_app(load_settings()).openapi())


@schema.parametrize()
@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_input_breaks_a_route(case: schemathesis.Case[Any], address: str) -> None:
    case.call_and_validate(
        base_url=address,
        checks=[
            nothing_broke,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=8,
)
TASK = st.fixed_dictionaries(
    {"data": st.dictionaries(st.sampled_from(["image", "x", ""]), JSON)},
    optional={"id": st.none() | st.integers(0, 2**63 - 1), "meta": JSON, "annotations": JSON},
)


@given(tasks=st.lists(TASK, max_size=4), project=st.sampled_from([None, "", "1.17", 5]), more=JSON)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_any_task_has_its_entry(address: str, tasks: list[Any], project: Any, more: Any) -> None:
    call = {"tasks": tasks, "project": project, "label_config": LABEL_CONFIG, "params": more}
    # Python's writer, as Label Studio uses: NaN, escapes and all.
    reply = httpx.post(f"{address}/predict", content=json.dumps(call), timeout=20)
    assert reply.status_code == 200, reply.text
    assert reply.json() == {"results": [[]] * len(tasks)}

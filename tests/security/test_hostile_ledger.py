"""What a hostile webhook leaves in a ledger is read, or left out, by all who read it."""

from __future__ import annotations

import json
from dataclasses import replace

import redis

from backend.jobs.lessons import lessons_of
from backend.labelstudio.events import parse_event
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.accepted import accepted_tasks
from backend.learning.ledger import Ledger
from backend.learning.reviews import reviews_of
from backend.store.ledgers import LedgerStore
from tests.security.bad_inputs import EVENTS, event_calls
from tests.server.conftest import LABEL_CONFIG


def test_no_event_keeps_a_project_from_learning(connection: redis.Redis) -> None:
    spec, ledger = parse_label_config(LABEL_CONFIG), Ledger(LedgerStore(connection))
    read = 0
    for number, call in enumerate(event_calls(EVENTS[0])):
        ledger.apply(replace(parse_event(json.loads(call.body)), project_id=number))
        entries = ledger.entries(str(number))
        try:
            lessons_of(accepted_tasks(entries, spec), spec)
            reviews_of(entries, spec)
        except Exception as error:
            raise AssertionError(f"{call.name}: {error!r}") from error
        read += len(entries)
    assert read > 500

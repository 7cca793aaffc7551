"""The page about learning names what is registered."""

from __future__ import annotations

from backend.learning.next_tasks import STRATEGIES
from tests.vision.test_docs import first_column


def test_every_strategy_has_its_line() -> None:
    assert first_column("learning.md", "## What next") == set(STRATEGIES.names())

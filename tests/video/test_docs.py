"""The ways by name: in the registry, in the options that /setup checks, on the page."""

from __future__ import annotations

from backend.labelstudio.options import VIDEO_WAYS
from backend.video import WAYS
from tests.vision.test_docs import DOCS, first_column


def test_every_way_is_known_and_has_its_line() -> None:
    assert WAYS.names() == VIDEO_WAYS
    assert first_column("video.md", "## Ways") == set(WAYS.names())


def test_the_looks_of_the_page_are_those_of_the_ways() -> None:
    text = (DOCS / "video.md").read_text("utf-8")
    for name in WAYS.names():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        assert float(row.split("|")[3]) == WAYS.get(name).looks_fps

"""The tables of the documentation name what is registered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.vision import backbones, boxes, saliency

DOCS = Path(__file__).resolve().parents[2] / "docs"


def first_column(page: str, heading: str) -> set[str]:
    """Names in the first column of the first table under a heading."""
    text = (DOCS / page).read_text("utf-8").partition(heading)[2]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows is not None
    return {row.split("|")[1].split("(")[0].strip() for row in rows[0].splitlines()[2:]}


@pytest.mark.parametrize(
    ("page", "heading", "names"),
    [
        ("backbones.md", "# Backbones", backbones.names()),
        ("saliency.md", "## Methods", saliency.names()),
        ("saliency.md", "## Box rules", boxes.names()),
    ],
)
def test_tables_and_registries_agree(page: str, heading: str, names: tuple[str, ...]) -> None:
    assert first_column(page, heading) == set(names)

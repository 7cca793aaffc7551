"""The `settings` command: every setting, its default, its meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from backend.settings import Settings

BEGIN, END = "<!-- settings: begin (make docs) -->", "<!-- settings: end -->"
ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    ROOT / "docs" / "settings.md": None,
    ROOT / "README.md": (
        "PORT",
        "HOST",
        "DATA_DIR",
        "REDIS_URL",
        "WORKERS",
        "DEVICE",
        "BACKBONE",
        "BACKBONE_WEIGHTS",
        "LABEL_STUDIO_URL",
        "LABEL_STUDIO_API_KEY",
        "PREDICT_DEADLINE",
        "MODEL_SCORE_THRESHOLD",
        "BASIC_AUTH_USER",
        "BASIC_AUTH_PASS",
        "ALLOWED_HOSTS",
        "LOG_LEVEL",
    ),
}
"""Pages that carry the table, with the settings shown there (None: all)."""


def rows() -> list[dict[str, str]]:
    """One row a setting: variable, default as text, description."""
    return [
        {
            "variable": str(info.alias),
            "default": _default(info),
            "description": info.description or "",
        }
        for info in Settings.model_fields.values()
    ]


def markdown(only: tuple[str, ...] | None = None) -> str:
    """The table as Markdown."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for row in rows():
        if only is None or row["variable"] in only:
            default = f"`{row['default']}`" if row["default"] else "–"
            lines.append(f"| `{row['variable']}` | {default} | {row['description']} |")
    return "\n".join(lines)


def filled(page: str, table: str) -> str:
    """The page with the table between its two marks."""
    head, rest = page.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def command(
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    write: bool = typer.Option(False, "--write", help="Write the tables of README and docs anew."),
) -> None:
    """List every setting with its default.

    Example: python -m backend settings --json
    """
    if write:
        for page, only in PAGES.items():
            page.write_text(filled(page.read_text("utf-8"), markdown(only)), "utf-8")
        return
    print(json.dumps(rows(), indent=2) if as_json else markdown())


def _default(info: FieldInfo) -> str:
    value: Any = info.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == ():
        return ""
    return str(value)

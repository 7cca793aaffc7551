"""The `report` command: what proposals saved a team."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from backend.cli.measuring import AS_JSON, write_text
from backend.cli.preannotate import find_redis
from backend.evaluation.project import read_project, report_of
from backend.evaluation.report_page import render_report, told
from backend.settings import load_settings
from backend.store.connection import connect


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    as_json: bool = AS_JSON,
    html: Path | None = typer.Option(None, "--html", dir_okay=False, help="Write a page."),
) -> None:
    """What became of proposals: kept, changed, rejected, missed; and how long people took.

    Lists accepted labels that look wrong as well.

    Example: python -m backend report --project 1 --html report.html
    """
    settings = load_settings()
    connection = connect(find_redis(settings))
    report = report_of(
        connection, read_project(connection, project), heads_kept=settings.heads_kept
    )
    if html is not None:
        write_text(html, render_report(report, settings.label_studio_url))
    print(json.dumps(report.as_dict()) if as_json else told(report, settings.label_studio_url))

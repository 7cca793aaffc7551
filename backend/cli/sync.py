"""The `sync` command: a project's ledger as Label Studio has it."""

from __future__ import annotations

import dataclasses
import json

import typer

from backend.cli.preannotate import find_redis
from backend.errors import LabelStudioAuth
from backend.jobs.sync import Sync
from backend.labelstudio.client import LabelStudioClient
from backend.learning.ledger import Ledger
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.ledgers import LedgerStore


def command(
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    as_json: bool = typer.Option(False, "--json", help="Print the outcome as JSON."),
) -> None:
    """Read all annotations of a project from Label Studio and repair the ledger by them.

    Webhooks that were lost leave gaps; workers close them when they start, this at once.

    Example: python -m backend sync --project 1
    """
    settings = load_settings()
    with (
        connect(find_redis(settings)) as connection,
        open_label_studio(settings) as client,
    ):
        report = Sync(Ledger(LedgerStore(connection)), client, str(project)).run(whole=True)
    if as_json:
        print(json.dumps(dataclasses.asdict(report)))
        return
    told = f"{report.changed} entries were repaired" if report.changed else "it was up to date"
    print(
        f"Project {project}: {report.annotations} annotations of {report.tasks} tasks are in the "
        f"ledger; {told}."
    )


def open_label_studio(settings: Settings) -> LabelStudioClient:
    """A client with the settings' key. Raises: LabelStudioAuth without one."""
    if not settings.can_push:
        raise LabelStudioAuth(
            "LABEL_STUDIO_API_KEY is not set: Label Studio cannot be asked.",
            "Set it to a personal access token of Label Studio.",
        )
    return LabelStudioClient(
        settings.label_studio_url, settings.label_studio_api_key, settings.label_studio_timeout_s
    )

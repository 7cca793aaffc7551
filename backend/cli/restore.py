"""The `restore` command: projects out of a file that `backup` wrote."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from backend.cli.backup import bar, told
from backend.cli.measuring import AS_JSON
from backend.cli.preannotate import find_redis
from backend.errors import RequestError
from backend.learning.backup import BackupReader, Content
from backend.learning.project_head import ProjectHead
from backend.settings import load_settings
from backend.store.connection import connect
from backend.store.snapshots import restoration


def command(
    file: Path = typer.Argument(..., exists=True, dir_okay=False, help="What `backup` wrote."),
    force: bool = typer.Option(
        False, "--force", help="Replace projects that are there, with their heads and ledgers."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Bring the projects of a file back, into an empty Redis or beside other projects.

    The whole file is checked first, each head and each annotation is read; then all of it
    is put in place at once, or nothing. Exit status: 0 restored, 2 refused and nothing
    changed: the file is broken, or a project is there already.

    Examples:

    python -m backend restore heads-and-ledgers.zip

    REDIS_URL=redis://new:6379/0 python -m backend restore heads-and-ledgers.zip

    python -m backend restore one.zip --force
    """
    settings = load_settings()
    content = Content()
    with (
        connect(find_redis(settings)) as connection,
        BackupReader(file, ProjectHead.from_bytes) as reader,
        restoration(connection) as restoring,
        bar("checking projects", len(reader.project_ids)) as done,
    ):
        for one in reader.project_ids:
            project = reader.project(one)
            restoring.stage(project)
            content = content.plus(project)
            done()
        if taken := restoring.publish(replace=force):
            raise RequestError(
                f"Nothing was restored: {', '.join(f'project {one}' for one in taken)} is there "
                "already.",
                "Keep it with `python -m backend backup` first; then add --force, which deletes "
                "its heads and its ledger.",
            )
    if as_json:
        print(json.dumps({"file": str(file), **asdict(content)}))
        return
    print(f"Restored: {told(content)}.")
    for one in reader.project_ids:
        if one.isdecimal():
            print(
                "What was annotated since the backup is taken in by: "
                f"python -m backend sync --project {one}"
            )

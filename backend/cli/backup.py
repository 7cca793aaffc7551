"""The `backup` command: projects into a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from backend.cli.measuring import AS_JSON
from backend.cli.preannotate import find_redis
from backend.errors import ConfigError
from backend.learning.backup import BackupWriter, Content
from backend.settings import load_settings
from backend.store.connection import connect
from backend.store.snapshots import known_projects, read_project


def command(
    file: Path = typer.Argument(..., help="File to write; one that is there is left alone."),
    project: str | None = typer.Option(
        None, "--project", help="Number of the only project to keep; else all."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Keep projects in a file: what Label Studio told of them, their heads, their ledgers.

    It can run beside a backend at work; each project is kept as it is at one moment.
    Predictions, queues and counts are not kept: they are made anew. Exit status: 0 the file
    is complete, 2 there is none.

    Examples:

    python -m backend backup heads-and-ledgers.zip

    python -m backend backup one.zip --project 3
    """
    settings = load_settings()
    content = Content()
    with connect(find_redis(settings)) as connection:
        known = known_projects(connection)
        if project is not None and project not in known:
            raise ConfigError(
                f"Project {project} is not known here.",
                f"Known: {', '.join(known) or 'none yet'}.",
            )
        wanted = known if project is None else [project]
        with (
            BackupWriter(file, created_at_s=time.time()) as writer,
            bar("keeping projects", len(wanted)) as done,
        ):
            for one in wanted:
                found = read_project(connection, one)
                writer.add(found)
                content = content.plus(found)
                done()
    size = file.stat().st_size
    if as_json:
        print(json.dumps({"file": str(file), "bytes": size, **asdict(content)}))
        return
    print(f"{file}: {told(content)}, {size} bytes.")


def told(content: Content) -> str:
    """For people."""
    return (
        f"projects {content.projects}, heads {content.heads}, "
        f"annotations in ledgers {content.annotations}"
    )


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr where that is a terminal; what it gives is called after each step."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        one = progress.add_task(what, total=total)
        yield lambda: progress.advance(one)

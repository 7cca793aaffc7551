"""The `heads` command: the trained versions of a project."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TypeVar

import redis
import typer

from backend.cli.preannotate import find_redis
from backend.cli.sync import open_label_studio
from backend.domain import BackboneIdentity
from backend.errors import RequestError
from backend.jobs.enqueue import Dispatcher
from backend.jobs.prune import prune_versions
from backend.jobs.refresh_requests import request_refresh
from backend.jobs.versions import backbone_identity, head_for
from backend.learning.versions import HeadVersions
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.fleet import Fleet
from backend.store.heads import HeadRef, HeadStore
from backend.store.projects import ProjectStore

T = TypeVar("T")


class Action(str, Enum):
    """What to do with the heads."""

    list = "list"
    use = "use"
    export = "export"
    import_ = "import"
    prune = "prune"


def command(
    action: Action = typer.Argument(..., help="list, use, export, import or prune."),
    project: int = typer.Option(..., "--project", help="Number of the project in Label Studio."),
    number: int | None = typer.Option(
        None, "--number", min=0, help="Which head: of use (0: none) and export."
    ),
    path: Path | None = typer.Option(
        None, "--path", help="Folder to export to, or .safetensors file to import."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List a project's trained heads, put one in use, move them between installations.

    `use` with an older number goes back; `use --number 0` goes back to the way without a
    head. `import` keeps a head without using it. `prune` deletes predictions of versions no
    longer in use from Label Studio.

    Example: python -m backend heads use --project 1 --number 3
    """
    settings = load_settings()
    with connect(find_redis(settings)) as connection:
        versions = HeadVersions(HeadStore(connection, most=settings.heads_kept))
        match action:
            case Action.list:
                _known(connection, versions, str(project))
                _list(versions, str(project), _identity(settings, connection), as_json)
            case Action.use:
                wanted = _given(number, "--number")
                _known(connection, versions, str(project))
                versions.use(str(project), wanted)
                job_id = request_refresh(connection, settings, str(project), time.time())
                pointed = versions.current(str(project))
                print(_told_use(project, pointed, _identity(settings, connection), job_id))
            case Action.export:
                _known(connection, versions, str(project))
                files = versions.export(
                    str(project), _given(number, "--number"), _given(path, "--path")
                )
                print("\n".join(str(file) for file in files))
            case Action.import_:
                taken = versions.import_(str(project), _given(path, "--path"))
                print(f"Head {taken} of project {project}; put it in use with `heads use`.")
            case Action.prune:
                _prune(settings, connection, project)


def _known(connection: redis.Redis, versions: HeadVersions, project_id: str) -> None:
    """Raises: ConfigError for a project without heads that was never set up either."""
    if not versions.refs(project_id):
        ProjectStore(connection).require(project_id)


def _identity(settings: Settings, connection: redis.Redis) -> BackboneIdentity:
    return backbone_identity(settings, Fleet(connection).identity())


def _told_use(
    project: int, pointed: HeadRef, identity: BackboneIdentity, job_id: str | None
) -> str:
    if not pointed.number:
        told = [f"Project {project} uses no head: the zero-shot way predicts."]
    elif head_for(identity, pointed).number:
        told = [f"Project {project} uses head {pointed.number}."]
    else:
        told = [
            f"Project {project} uses head {pointed.number} once its backbone "
            f"{pointed.backbone_digest} is in use; with {identity.name} {identity.digest} the "
            "zero-shot way predicts."
        ]
    if job_id is not None:
        told.append(f"Predictions of its open tasks are made anew (job {job_id}).")
    return "\n".join(told)


def _list(
    versions: HeadVersions, project_id: str, identity: BackboneIdentity, as_json: bool
) -> None:
    current = versions.current(project_id).number
    metas = versions.metas(project_id)
    if as_json:
        rows = [
            {"number": number, "current": number == current, **dataclasses.asdict(meta)}
            for number, meta in metas.items()
        ]
        print(json.dumps(rows))
        return
    for number, meta in metas.items():
        made = datetime.fromtimestamp(meta.created_at_s, timezone.utc).isoformat(" ", "minutes")
        told = ", ".join(f"{name} {value:.3f}" for name, value in meta.metrics.items())
        mark = "*" if number == current else " "
        print(f"{mark} {number:4d}  {made}  {meta.pictures} pictures  {told}")
        # The metrics of two heads are of different pictures; the verdict compares.
        if meta.verdict:
            print(f"{'':8}{meta.verdict}")
        if identity.digest and meta.backbone_digest != identity.digest:
            print(f"{'':8}Learned on {meta.backbone_name} {meta.backbone_digest}: of no use now.")
    if not metas:
        print("No head has been published yet.")


def _prune(settings: Settings, connection: redis.Redis, project: int) -> None:
    with open_label_studio(settings) as client:
        version = Dispatcher(settings, connection).model_version(
            str(project), client.project(project).label_config
        )
        deleted = prune_versions(client, project, version)
    for old, count in deleted.items():
        print(f"{old}: {count} predictions deleted.")
    if not deleted:
        print("There are no predictions of older versions.")


def _given(value: T | None, name: str) -> T:
    if value is None:
        raise RequestError(f"{name} is missing.", "See `python -m backend heads --help`.")
    return value

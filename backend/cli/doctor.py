"""The `doctor` command: each hop from Label Studio to the weights, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict

import redis
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend.cli import check_labelstudio as studio
from backend.cli import check_own as own
from backend.cli.check import Check, attempt, failed, healthy
from backend.domain import Task
from backend.errors import BackendError, SettingsInvalid
from backend.jobs.versions import backbone_identity, head_for, model_version
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.learning.versions import HeadVersions
from backend.media.fetch import MediaFetcher
from backend.settings import Settings, load_settings
from backend.store.connection import connect, unavailable
from backend.store.fleet import Fleet
from backend.store.heads import HeadRef, HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore
from backend.vision.classes import imagenet_classes

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def command(
    project: int | None = typer.Option(None, help="Look at this project of Label Studio too."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Check Redis, workers, weights and Label Studio; say what to do. Exit 1 on a problem."""
    try:
        settings = load_settings()
    except SettingsInvalid as error:
        checks = [failed("settings", error)]
    else:
        checks = list(examine(settings, project))
    if as_json:
        print(json.dumps({"ok": healthy(checks), "checks": [asdict(c) for c in checks]}, indent=2))
    else:
        _show(checks)
    raise typer.Exit(0 if healthy(checks) else 1)


def examine(settings: Settings, project_id: int | None) -> Iterator[Check]:
    """All checks in the order of the way, from the inside out."""
    yield Check("settings", "ok", f"Read; data in {settings.data_dir}, port {settings.port}.")
    yield own.check_runtime(settings, own.installed_release("openvino"))
    connection: redis.Redis | None = None
    url = own.redis_address(settings)
    if url is None:
        yield own.no_redis(settings)
    else:
        try:
            connection = connect(url)
        except BackendError as error:
            yield failed("Redis", error)
    try:
        if connection is not None:
            try:
                yield from _inside(settings, connection)
            except redis.RedisError as error:
                yield failed("Redis", unavailable(str(url), error))
                connection.close()
                connection = None
        yield from _outside(settings, project_id, connection)
    finally:
        if connection is not None:
            connection.close()


def _inside(settings: Settings, connection: redis.Redis) -> Iterator[Check]:
    fleet = Fleet(connection)
    yield from attempt("Redis", lambda: own.check_redis(connection))
    alive, lost_s = fleet.alive, settings.worker_lost_s
    yield from attempt("workers", lambda: own.check_workers(alive(lost_s, "predict")))
    yield from attempt("training", lambda: own.check_trainers(alive(lost_s, "train")))
    yield from attempt("weights", lambda: own.check_weights(fleet.identity(), settings))


def _outside(
    settings: Settings, project_id: int | None, connection: redis.Redis | None
) -> Iterator[Check]:
    client = LabelStudioClient(
        settings.label_studio_url, settings.label_studio_api_key, settings.label_studio_timeout_s
    )
    with client:
        release = attempt("Label Studio", lambda: studio.check_release(client))
        yield from release
        if not healthy(release):
            return
        key = attempt("API key", lambda: studio.check_key(client))
        yield from key
        if project_id is None:
            return
        if not healthy(key) or client.tokens.kind == "none":
            yield Check(
                f"project {project_id}",
                "problem",
                "It cannot be looked at without a key that Label Studio accepts.",
                "Set LABEL_STUDIO_API_KEY.",
            )
            return
        try:
            yield from _project(settings, client, project_id, connection)
        except BackendError as error:
            yield failed(f"project {project_id}", error)


def _project(
    settings: Settings,
    client: LabelStudioClient,
    project_id: int,
    connection: redis.Redis | None,
) -> Iterator[Check]:
    project = client.project(project_id)
    yield Check(
        f"project {project_id}", "ok", f"{project.title!r} with {project.task_number} tasks."
    )
    backends = client.ml_backends(project_id)
    yield studio.check_backend(backends, settings)
    yield from attempt(
        "webhook",
        lambda: studio.check_webhook(client.webhooks(project_id), backends, settings),
    )
    spec = parse_label_config(project.label_config)
    yield from studio.check_unserved(spec)
    task = _any_task(client, project_id)
    yield from studio.check_labels(spec, task, imagenet_classes())
    if task is None:
        yield Check("picture", "warning", "The project has no task.", "Import pictures.")
    else:
        yield from _picture(settings, client, task, spec)
    if connection is not None:
        pointed = ProjectStore(connection).head(str(project_id))
        identity = backbone_identity(settings, Fleet(connection).identity())
        head = head_for(identity, pointed)
        yield _learned(settings, connection, project_id, pointed, head)
        expected = model_version(identity, head, spec.fingerprint, settings)
        yield studio.check_version(project, backends, expected)


def _learned(
    settings: Settings,
    connection: redis.Redis,
    project_id: int,
    pointed: HeadRef,
    head: HeadRef,
) -> Check:
    versions = HeadVersions(HeadStore(connection, most=settings.heads_kept))
    meta = versions.metas(str(project_id)).get(head.number)
    changes = LedgerStore(connection).changes(str(project_id))
    return own.check_learned(pointed, head, 0 if meta is None else meta.pictures, changes)


def _any_task(client: LabelStudioClient, project_id: int) -> Task | None:
    # No task has a prediction of a version of this name; reading one task by its id would
    # make Label Studio ask the backend for a prediction of it.
    for page in client.tasks_lacking_version(project_id, "(doctor)", page_size=1):
        return page[0]
    return None


def _picture(
    settings: Settings, client: LabelStudioClient, task: Task, spec: LabelSpec
) -> list[Check]:
    with closing(MediaFetcher(settings, client.tokens)) as fetcher:
        return attempt("picture", lambda: studio.check_picture(task, spec, fetcher, settings))


def _show(checks: list[Check]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        colour = _COLOURS[check.state]
        remedy = f"\n[bold]→[/bold] {escape(check.remedy)}" if check.remedy else ""
        table.add_row(
            f"[{colour}]{check.state}[/{colour}]", check.name, escape(check.detail) + remedy
        )
    Console().print(table)

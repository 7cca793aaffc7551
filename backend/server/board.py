"""All that the page at / shows beside the overview, read from Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from backend.errors import ConfigError, JobNotFound
from backend.jobs.failed import FailedJob, failed_jobs
from backend.jobs.views import JobView, job_view
from backend.learning.versions import HeadVersions, VersionMeta
from backend.server.link import Parts
from backend.settings import Settings
from backend.store import keys
from backend.store.acceptance import Acceptance, AcceptanceStore, ProjectAcceptance, together
from backend.store.deliveries import Deliveries
from backend.store.heads import HeadStore
from backend.store.projects import ProjectState
from backend.store.recent import RecentPrediction, RecentPredictions

MOST_PROJECTS = 20
"""Projects on one page."""

MOST_FAILED = 20
_NOTHING_COUNTED = ProjectAcceptance(0.0, ())


@dataclass(frozen=True, slots=True)
class ProjectBoard:
    """A project.

    version: its model_version, "" where it cannot be served; problem says why. head: number
    of the one in use, 0 for none. versions: its heads by number, oldest first. training: the
    one that waits or runs. changed: annotations not learned yet. to_push: predictions that
    Label Studio has not taken yet. host: Label Studio's own idea of its address.
    """

    id: str
    host: str
    version: str
    problem: str
    head: int
    versions: Mapping[int, VersionMeta]
    training: JobView | None
    changed: int
    to_push: int
    reviewed: tuple[Acceptance, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """All of it.

    pace: pictures of each of the last whole minutes, oldest first. reviewed: of all
    projects. skipped, further: how many projects are before and after these.
    """

    pace: tuple[int, ...]
    reviewed: Acceptance
    projects: tuple[ProjectBoard, ...]
    skipped: int
    further: int
    recent: tuple[RecentPrediction, ...]
    failed: tuple[FailedJob, ...]


def read_board(parts: Parts, settings: Settings, skip: int) -> Board:
    """Everything as it stands now; skip: projects to leave out before the first."""
    ids = parts.projects.all_ids()
    wanted = ids[skip : skip + MOST_PROJECTS]
    heads = HeadVersions(HeadStore(parts.redis, most=settings.heads_kept))
    counted = AcceptanceStore(parts.redis).read()
    found = [parts.projects.get(project_id) for project_id in wanted]
    return Board(
        pace=tuple(parts.counters.pace()),
        reviewed=together(row for one in counted.values() for row in one.versions),
        projects=tuple(
            _project(parts, heads, one, counted.get(one.project_id, _NOTHING_COUNTED))
            for one in found
            if one is not None
        ),
        skipped=min(skip, len(ids)),
        further=max(0, len(ids) - skip - MOST_PROJECTS),
        recent=tuple(RecentPredictions(parts.redis).read()),
        failed=tuple(failed_jobs(parts.redis, MOST_FAILED)),
    )


def _project(
    parts: Parts, heads: HeadVersions, state: ProjectState, counted: ProjectAcceptance
) -> ProjectBoard:
    project_id, problem, version, head = state.project_id, "", "", state.head.number
    try:
        version = parts.dispatcher.model_version(project_id, state.label_config)
    except ConfigError as error:
        problem = str(error)
    try:
        metas = heads.metas(project_id)
    except ValueError as error:  # kept by another release
        metas, problem = {}, f"{problem} A head cannot be read: {error}.".strip()
    return ProjectBoard(
        id=project_id,
        host=state.hostname,
        version=version,
        problem=problem,
        head=head,
        versions=dict(sorted(metas.items())),
        training=_training(parts.redis, project_id),
        changed=parts.ledger.changes(project_id).count,
        to_push=Deliveries(parts.redis).pending_count(project_id),
        reviewed=counted.versions,
    )


def _training(connection: redis.Redis, project_id: str) -> JobView | None:
    job_id = connection.get(keys.training(project_id))
    if not isinstance(job_id, bytes):
        return None
    try:
        view = job_view(connection, job_id.decode())
    except JobNotFound:
        return None
    return view if view.state in ("queued", "running") else None

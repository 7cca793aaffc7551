"""The job that brings a new version to the tasks that nobody has labelled yet.

It queues their predictions and ends; carriers make them, pushes bring them to Label
Studio, and the push that brings the last one shows the new version in the project.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import redis
import structlog

from backend.errors import JobError, JobNotFound, LabelStudioError
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.pages import dated
from backend.jobs.process import current
from backend.jobs.refresh_requests import REFRESH_SCHEMA
from backend.jobs.versions import is_ours
from backend.labelstudio.api_values import Project
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings
from backend.store import keys
from backend.store.deliveries import Deliveries

log = structlog.get_logger(__name__)

_CARRIERS_A_PAGE = 8
_STATE_TTL_S = 7 * 24 * 3600

_FORGET = """
-- KEYS: a refresh. ARGV: the state that is over.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Refresh a project; ``{"version": …, "tasks": how many are predicted anew}``.

    Raises: JobError where the payload is of another schema or there is no API key;
    LabelStudioError.
    """
    process = current()
    if payload.get("schema") != REFRESH_SCHEMA:
        raise JobError(
            f"A refresh of schema {payload.get('schema')!r} reached a worker for {REFRESH_SCHEMA}.",
            "Run server and workers of the same release.",
        )
    if process.label_studio is None:
        raise JobError(
            "A refresh reached a worker without LABEL_STUDIO_API_KEY.",
            "Give all workers the key that the server has.",
        )
    project_id = str(payload["project_id"])
    return Refresh(process.settings, process.connection, process.label_studio, project_id).run()


class Refresh:
    """One refresh of one project; needs no worker process."""

    def __init__(
        self,
        settings: Settings,
        connection: redis.Redis,
        client: LabelStudioClient,
        project_id: str,
    ) -> None:
        self._settings = settings
        self._redis = connection
        self._client = client
        self._project_id = project_id
        self._dispatcher = Dispatcher(settings, connection)

    def run(self) -> dict[str, Any]:
        """Have every unlabelled task that lacks the current version predicted and pushed."""
        number = int(self._project_id)
        label_config = self._client.project(number).label_config
        version = self._dispatcher.model_version(self._project_id, label_config)
        self._cancel_earlier(version)
        jobs: list[str] = []
        tasks = 0
        pages = self._client.tasks_lacking_version(
            number,
            version,
            page_size=_CARRIERS_A_PAGE * self._settings.carrier_tasks,
            unlabelled_only=True,
        )
        for page, known_s in dated(pages):
            call = PredictCall(self._project_id, label_config, tuple(page), "bulk")
            ticket = self._dispatcher.begin(call, known_s)
            if ticket.version != version:
                break  # a head was published or put back meanwhile, and has its own refresh
            self._dispatcher.defer_all(ticket)
            jobs += ticket.own_jobs
            tasks += len(page)
        state = json.dumps({"version": version, "jobs": jobs})
        self._redis.set(keys.refresh(self._project_id), state, ex=_STATE_TTL_S)
        # Where all came from the cache, the last push may be over by now.
        show_version(self._settings, self._redis, self._client, self._project_id)
        log.info("refresh_queued", project=self._project_id, version=version, tasks=tasks)
        return {"version": version, "tasks": tasks}

    def _cancel_earlier(self, version: str) -> None:
        state: Any = self._redis.get(keys.refresh(self._project_id))
        before = _parse(state)
        if before.get("version") != version:
            _cancel(self._dispatcher, before.get("jobs", []))


def show_version(
    settings: Settings, connection: redis.Redis, client: LabelStudioClient, project_id: str
) -> bool:
    """Show a refreshed version in the project, once all its predictions are there.

    Only then do Label Studio's score column and its uncertainty sampling sort by it. A
    version that somebody else chose stays. Returns whether the refresh is over.
    """
    name = keys.refresh(project_id)
    state: Any = connection.get(name)
    wanted = str(_parse(state).get("version", ""))
    if not wanted or project_id in Deliveries(connection).projects_with_pending():
        return False
    try:
        if settings.refresh_model_version:
            _show(client, client.project(int(project_id)), wanted)
    except LabelStudioError as error:
        log.warning("version_not_shown", project=project_id, version=wanted, reason=str(error))
    if connection.eval(_FORGET, 1, name, state):
        return True
    # A newer refresh began meanwhile. Its last push may be over, so that nobody else looks.
    return show_version(settings, connection, client, project_id)


def _show(client: LabelStudioClient, project: Project, wanted: str) -> None:
    shown = project.model_version
    if shown == wanted:
        return
    if shown and not is_ours(shown):
        # The title of a connected backend means live predictions: ours, unless another's.
        backends = client.ml_backends(project.id)
        if not any(one.title == shown and is_ours(one.model_version) for one in backends):
            log.info("version_left_alone", project=project.id, shown=shown)
            return
    if wanted not in client.model_versions(project.id):
        return  # Label Studio refuses a version without predictions; all tasks are labelled
    client.patch_project(project.id, {"model_version": wanted})
    log.info("version_shown", project=project.id, version=wanted)


def _parse(state: bytes | None) -> dict[str, Any]:
    return {} if state is None else dict(json.loads(state))


def _cancel(dispatcher: Dispatcher, job_ids: Iterable[str]) -> None:
    for job_id in job_ids:
        try:
            dispatcher.cancel(job_id)
        except JobNotFound:
            continue  # finished and forgotten

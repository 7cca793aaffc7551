"""The job that repairs a ledger: Label Studio's own list has the last word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from backend.errors import JobError
from backend.jobs.process import current
from backend.jobs.sync_requests import SYNC_SCHEMA
from backend.labelstudio.client import LabelStudioClient
from backend.learning.ledger import Ledger
from backend.store import keys

log = structlog.get_logger(__name__)

_MOST_ASKED = 200
"""Tasks whose proposals are asked for at once. The newest: those of old ones may be gone."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """tasks, annotations: how many Label Studio has. changed: what the ledger had otherwise.

    unchanged: nothing has happened since the last sync, so that nothing was read.
    """

    tasks: int = 0
    annotations: int = 0
    changed: int = 0
    unchanged: bool = False


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sync a project, where Label Studio changed since the last time.

    Raises: JobError where the payload is of another schema or there is no API key;
    LabelStudioError.
    """
    process = current()
    if payload.get("schema") != SYNC_SCHEMA:
        raise JobError(
            f"A sync of schema {payload.get('schema')!r} reached a worker for {SYNC_SCHEMA}.",
            "Run server and workers of the same release.",
        )
    if process.label_studio is None:
        raise JobError(
            "A sync reached a worker without LABEL_STUDIO_API_KEY.",
            "Give all workers the key that the server has.",
        )
    project_id = keys.project_id_of(payload["project_id"])
    return asdict(Sync(process.ledger, process.label_studio, project_id).run())


class Sync:
    """One sync of one project; needs no worker process."""

    def __init__(self, ledger: Ledger, client: LabelStudioClient, project_id: str) -> None:
        self._ledger = ledger
        self._client = client
        self._project_id = project_id

    def run(self, *, whole: bool = False) -> SyncReport:
        """Read all annotations in pages and forget what is gone.

        whole: also where nothing seems to have changed since the last sync.
        Raises: LabelStudioError; what was read until then is kept.
        """
        number, store = int(self._project_id), self._ledger.store
        # Both are read first: what happens meanwhile is newer than the one, and makes the
        # next sync read again by the other.
        began_s = store.now_s()
        state = self._client.annotation_state(number)
        if not whole and state == store.synced_state(self._project_id):
            return SyncReport(unchanged=True)
        tasks: set[int] = set()
        annotations: set[int] = set()
        changed = 0
        for page in self._client.annotated_tasks(number):
            records = [record for task in page for record in task.annotations]
            changed += self._ledger.note(
                self._project_id, records, [task.task for task in page], began_s=began_s
            )
            tasks.update(task.task.id for task in page)
            annotations.update(record.id for record in records if record.id is not None)
        changed += store.keep_only(self._project_id, sorted(annotations), began_s)
        store.remember_synced(self._project_id, state)
        report = SyncReport(len(tasks), len(annotations), changed)
        log.info("ledger_synced", project=self._project_id, **asdict(report))
        return report

    def ask_for_proposals(self) -> int:
        """Find out what annotations were made from where no webhook told.

        Where a project shows a live backend, Label Studio's webhooks only name the
        prediction. Reads the tasks concerned alone; returns how many there were.
        Raises: LabelStudioError; what was read until then is kept.
        """
        unknown = [
            entry
            for entry in self._ledger.entries(self._project_id)
            if entry.parent is not None and entry.shown is None and not entry.skipped
        ]
        unknown.sort(key=lambda entry: (entry.updated_us, entry.annotation_id))
        task_ids = {entry.task_id for entry in unknown[-_MOST_ASKED:]}
        for task in self._client.annotated_among(int(self._project_id), task_ids):
            self._ledger.note(self._project_id, task.annotations, [task.task])
        return len(task_ids)

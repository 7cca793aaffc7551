"""The job that brings late predictions to Label Studio, each of them once.

Label Studio stores a prediction as often as it is sent, and a bulk import has no key that
would make it safe to repeat. So a prediction is claimed before it is sent, and one whose
fate is unknown stays claimed until Label Studio can be asked whether it has it, and so
late that an import still under way there has surely ended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import redis
import structlog

from backend.domain import Failed
from backend.errors import (
    JobError,
    LabelStudioAuth,
    LabelStudioError,
    LabelStudioUnreachable,
)
from backend.jobs.again import defer_lacking
from backend.jobs.claims import jobs_at_work
from backend.jobs.parking import AGAIN, park_push
from backend.jobs.process import current, prediction_cache
from backend.jobs.push_requests import (
    PUSH_SCHEMA,
    job_limit_s,
    push_begins,
    push_ended,
    request_push,
    requeue_due_pushes,
)
from backend.jobs.refresh import show_version
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings
from backend.store.clock import SharedClock
from backend.store.counters import Counters
from backend.store.deliveries import Claimed, Deliveries

__all__ = ["MARGIN_S", "requeue_due_pushes", "run"]

log = structlog.get_logger(__name__)

MARGIN_S = 30.0
"""Beyond a push job's time limit, after which its claims are another's to settle."""

MOST_FAILURES = 300
"""Failures in a row, some five minutes apart, after which what waits is given up: a day."""


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Push what a project has ready; ``{"pushed": n, "dropped": {reason: n}}``.

    Label Studio out of reach is no error of the job: the push is tried again later.
    Raises: JobError where the payload is of another schema or there is no API key.
    """
    process = current()
    if payload.get("schema") != PUSH_SCHEMA:
        raise JobError(
            f"A push of schema {payload.get('schema')!r} reached a worker for {PUSH_SCHEMA}.",
            "Run server and workers of the same release.",
        )
    if process.label_studio is None:
        raise JobError(
            "A push reached a worker without LABEL_STUDIO_API_KEY.",
            "Give all workers the key that the server has.",
        )
    project_id = str(payload["project_id"])
    settings, connection, client = process.settings, process.connection, process.label_studio
    key_of: dict[str, dict[int, str]] = {}
    for task_id, version, key in payload.get(AGAIN, ()):
        key_of.setdefault(version, {})[task_id] = key
    for version, keys_of in key_of.items():
        defer_lacking(connection, client, project_id, version, keys_of)
    push = Push(settings, connection, client, project_id, parks=not key_of)
    outcome = push.run()
    show_version(settings, connection, client, project_id)
    if key_of and push.untaken:
        # Whoever asked for it finds the same job again.
        raise JobError(push.untaken, "")
    return outcome


class Push:
    """One push of one project; needs no worker process.

    now_s: seconds since the epoch, Redis's. parks: whether what Label Studio does not take is
    left as a failed job. untaken: why it did not take some, "" where it took all.
    """

    def __init__(
        self,
        settings: Settings,
        connection: redis.Redis,
        client: LabelStudioClient,
        project_id: str,
        *,
        now_s: Callable[[], float] | None = None,
        parks: bool = True,
    ) -> None:
        self.untaken = ""
        self._parks = parks
        self._settings = settings
        self._redis = connection
        self._cache = prediction_cache(settings, connection)
        self._deliveries = Deliveries(connection)
        self._client = client
        self._project_id = project_id
        self._project_number = int(project_id)
        self._now_s = now_s or SharedClock(connection)
        self._until_s = self._now_s() + settings.label_studio_timeout_s
        self._pushed = 0
        self._dropped: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """Push until nothing ready is left, the time is up, or Label Studio fails."""
        push_begins(self._redis, self._project_id)
        failed, more = True, False
        try:
            self._settle_stale()
            more = self._push_ready()
            failed = False
        except LabelStudioError as error:
            log.warning("push_failed", project=self._project_id, code=error.code, reason=str(error))
        finally:
            state = push_ended(self._redis, self._project_id, failed=failed, now_s=self._now_s())
            self._count()
        if state.failures >= MOST_FAILURES:
            self._give_up()
        if more:
            request_push(self._redis, self._settings, self._project_id, self._now_s())
        return {"pushed": self._pushed, "dropped": dict(self._dropped)}

    def _push_ready(self) -> bool:
        """Push batch by batch, oldest first, until a whole batch is still in the works.

        Returns whether time ran out before.
        """
        unready: list[Claimed] = []
        try:
            while self._now_s() < self._until_s:
                claimed = self._deliveries.claim(
                    self._project_id, self._settings.push_batch, self._now_s()
                )
                if not claimed:
                    return False
                ready, waiting = self._sorted(claimed)
                unready += waiting
                self._push(ready)
                if len(waiting) == len(claimed):
                    # What is behind was asked for later; the jobs that do these ask for a
                    # push when they end. Looking through all would cost more the more waits.
                    return False
            return True
        finally:
            self._deliveries.give_back(self._project_id, unready)

    def _sorted(
        self, claimed: Sequence[Claimed]
    ) -> tuple[list[tuple[Claimed, bytes]], list[Claimed]]:
        """What can be pushed, with its prediction, and what is still in the works.

        The rest will never be ready and is dropped. The cache is read last: a carrier fills
        it first, then gives its claim up, then ends.
        """
        keys_of = [item.key for item in claimed]
        owners = self._cache.owners(keys_of)
        at_work = jobs_at_work(self._redis, [owner for owner in owners if owner])
        answers = self._cache.get_many(keys_of)
        ready: list[tuple[Claimed, bytes]] = []
        waiting: list[Claimed] = []
        for item, owner, answer in zip(claimed, owners, answers, strict=True):
            if isinstance(answer, bytes):
                ready.append((item, answer))
            elif answer is None and owner in at_work:
                waiting.append(item)
            else:
                reason = answer.code if isinstance(answer, Failed) else "never_predicted"
                self._drop([item], reason)
        return ready, waiting

    def _push(self, ready: Sequence[tuple[Claimed, bytes]]) -> None:
        by_version = sorted(ready, key=lambda item: item[0].version)
        groups = [list(group) for _, group in groupby(by_version, key=lambda item: item[0].version)]
        for number, group in enumerate(groups):
            try:
                self._import(group)
            except LabelStudioError:
                for later in groups[number + 1 :]:  # not sent at all
                    self._deliveries.give_back(self._project_id, [item for item, _ in later])
                raise

    def _import(self, group: Sequence[tuple[Claimed, bytes]]) -> None:
        """Import predictions of one version.

        Raises: LabelStudioError where Label Studio cannot be had now; what was not stored
        for sure is given back, the rest stays claimed.
        """
        claimed = [item for item, _ in group]
        body = [{"task": item.task_id, **json.loads(answer)} for item, answer in group]
        try:
            created = self._client.import_predictions(self._project_number, body)
        except LabelStudioUnreachable as error:
            if not error.maybe_done:
                self._deliveries.give_back(self._project_id, claimed)
                raise
            self._settle(claimed, surely_over=False)
            raise
        except LabelStudioAuth:
            self._deliveries.give_back(self._project_id, claimed)
            raise
        except LabelStudioError as error:
            self._refused(group, error)
            return
        if created < len(claimed):
            self._drop_rejected(claimed)
        else:
            self._delivered(claimed)

    def _refused(self, group: Sequence[tuple[Claimed, bytes]], error: LabelStudioError) -> None:
        """One bad prediction has a whole import refused: find it, import the others."""
        try:
            existing = self._client.existing_tasks(
                [item.task_id for item, _ in group], self._project_number
            )
        except LabelStudioError:
            self._deliveries.give_back(self._project_id, [item for item, _ in group])
            raise
        self._drop([item for item, _ in group if item.task_id not in existing], "task_deleted")
        kept = [(item, answer) for item, answer in group if item.task_id in existing]
        if len(kept) == len(group) == 1:
            item = group[0][0]
            log.error("push_refused", task=item.task_id, version=item.version, reason=str(error))
            self._drop([item], "refused")
            self._park([item], str(error))
            return
        half = len(kept) if len(kept) < len(group) else len(kept) // 2
        parts = [part for part in (kept[:half], kept[half:]) if part]
        for number, part in enumerate(parts):
            try:
                self._import(part)
            except LabelStudioError:
                for later in parts[number + 1 :]:
                    self._deliveries.give_back(self._project_id, [item for item, _ in later])
                raise

    def _drop_rejected(self, claimed: Sequence[Claimed]) -> None:
        """Label Studio stored fewer than it was given, and does not say which."""
        have = self._having(claimed)
        self._delivered([item for item in claimed if item.task_id in have])
        rejected = [item for item in claimed if item.task_id not in have]
        log.error(
            "push_rejected",
            project=self._project_id,
            tasks=[item.task_id for item in rejected],
            reason="Label Studio's validator dropped them; its log has the reason.",
        )
        self._drop(rejected, "rejected")
        self._park(rejected, "Label Studio's validator dropped them; its log has the reason.")

    def _settle_stale(self) -> None:
        older_than_s = job_limit_s(self._settings) + MARGIN_S
        stale = self._deliveries.stale_claims(self._project_id, older_than_s, self._now_s())
        if stale:
            log.info("push_settles_stale", project=self._project_id, tasks=len(stale))
            self._settle(stale, surely_over=True)

    def _settle(self, claimed: Sequence[Claimed], *, surely_over: bool) -> None:
        """Ask Label Studio which of these it has.

        surely_over: whether no import of them can be under way there any more. Only then
        is one that is not there free to be pushed again; until then it stays claimed.
        """
        for version in dict.fromkeys(item.version for item in claimed):
            group = [item for item in claimed if item.version == version]
            have = self._having(group)
            self._delivered([item for item in group if item.task_id in have])
            if surely_over:
                missing = [item for item in group if item.task_id not in have]
                self._deliveries.give_back(self._project_id, missing)

    def _having(self, claimed: Sequence[Claimed]) -> set[int]:
        return self._client.predictions_of(
            [item.task_id for item in claimed], self._project_number, claimed[0].version
        )

    def _delivered(self, claimed: Sequence[Claimed]) -> None:
        self._deliveries.finished(self._project_id, claimed, self._now_s())
        self._pushed += len(claimed)

    def _drop(self, claimed: Sequence[Claimed], reason: str) -> None:
        """These are not pushed, now or later; Label Studio may ask for them again."""
        if not claimed:
            return
        self._deliveries.drop(self._project_id, claimed)
        self._dropped[reason] += len(claimed)
        tasks = [item.task_id for item in claimed]
        log.warning("push_dropped", project=self._project_id, tasks=tasks, reason=reason)

    def _park(self, claimed: Sequence[Claimed], why: str) -> None:
        """Leave a failed job of these: somebody may mend what is wrong, and have them pushed."""
        self.untaken = why
        if self._parks:
            again = [(item.task_id, item.version, item.key) for item in claimed]
            park_push(self._redis, self._settings, self._project_id, again, why)

    def _give_up(self) -> None:
        while claimed := self._deliveries.claim(
            self._project_id, self._settings.push_batch, self._now_s()
        ):
            self._drop(claimed, "given_up")
            self._park(claimed, f"Label Studio could not be had {MOST_FAILURES} times in a row.")

    def _count(self) -> None:
        counters = Counters(self._redis)
        if self._pushed:
            counters.add("predictions_pushed", {}, self._pushed)
        for reason, count in self._dropped.items():
            counters.add("predictions_dropped", {"reason": reason}, count)

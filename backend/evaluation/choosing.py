"""What is known of a project's open tasks when the next ones are chosen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import redis

from backend.domain import Failed, FloatArray, Task
from backend.errors import MediaError
from backend.evaluation.project import Project
from backend.jobs.addresses import looks_of, reduce_data
from backend.jobs.enqueue import Dispatcher
from backend.jobs.process import prediction_cache
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.regions import read_regions
from backend.learning.next_tasks import Situation
from backend.settings import Settings
from backend.store.predictions import task_key

_NO_VERSION = "no-such-version"


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task without annotation, with its current prediction. address: of its first picture."""

    task_id: int
    address: str
    score: float
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """The open tasks that have a prediction of the version; unpredicted: how many have none."""

    version: str
    tasks: tuple[OpenTask, ...]
    unpredicted: int


def open_tasks(
    settings: Settings, connection: redis.Redis, client: LabelStudioClient, project: Project
) -> OpenTasks:
    """The project's tasks that nobody annotated or skipped, by ascending id.

    Predictions are those that the store keeps of the current version.
    """
    done = {entry.task_id for entry in project.entries}
    version = Dispatcher(settings, connection).model_version(str(project.id), project.label_config)
    cache = prediction_cache(settings, connection)
    found, unpredicted = [], 0
    # Every task lacks a version that was never made.
    for page in client.tasks_lacking_version(project.id, _NO_VERSION):
        left = [task for task in page if task.id is not None and task.id not in done]
        keys = [
            task_key(version, project.spec.fingerprint, reduce_data(project.spec, task.data))
            for task in left
        ]
        for task, kept in zip(left, cache.get_many(keys), strict=True):
            address = _first_address(project, task)
            if kept is None or isinstance(kept, Failed) or address is None or task.id is None:
                unpredicted += 1
                continue
            prediction = json.loads(kept)
            regions = read_regions(prediction["result"], project.spec)
            labels = tuple(region.label for region in regions if region.label)
            found.append(OpenTask(task.id, address, float(prediction["score"]), labels))
    return OpenTasks(version, tuple(found), unpredicted)


def situation_of(
    project: Project,
    tasks: Sequence[OpenTask],
    pooled: FloatArray | None = None,
    accepted_pooled: FloatArray | None = None,
) -> Situation:
    """The strategies' view; without vectors for those that look at none."""
    return Situation(
        np.array([task.score for task in tasks], np.float32),
        np.zeros((len(tasks), 0), np.float32) if pooled is None else pooled,
        tuple(task.labels for task in tasks),
        np.zeros((0, 0), np.float32) if accepted_pooled is None else accepted_pooled,
        Counter(box.label for lesson in project.lessons for box in lesson.boxes),
    )


def _first_address(project: Project, task: Task) -> str | None:
    try:
        return next((look.address for look in looks_of(project.spec, task.data)), None)
    except MediaError:
        return None

"""What the store knows of one project: its reviews, its accepted pictures, its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import redis

from backend.jobs.lessons import Lesson, lessons_of
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.learning.accepted import accepted_tasks
from backend.learning.ledger import Entry, Ledger
from backend.learning.report import HeldOut, Report, build_report
from backend.learning.reviews import reviews_of
from backend.learning.versions import HeadVersions
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.store.projects import ProjectStore


@dataclass(frozen=True)
class Project:
    """A project as it stands. lessons: accepted pictures, the one touched last at the end."""

    id: int
    label_config: str
    spec: LabelSpec
    entries: tuple[Entry, ...]
    lessons: tuple[Lesson, ...]
    ledger: Ledger


def read_project(connection: redis.Redis, project_id: int) -> Project:
    """Raises: ConfigError where Label Studio never set the project up with this backend."""
    state = ProjectStore(connection).require(str(project_id))
    spec = parse_label_config(state.label_config)
    ledger = Ledger(LedgerStore(connection))
    entries = ledger.entries(str(project_id))
    touched = {entry.task_id: 0 for entry in entries}
    for entry in entries:
        touched[entry.task_id] = max(touched[entry.task_id], entry.updated_us)
    lessons = lessons_of(accepted_tasks(entries, spec), spec)
    lessons.sort(key=lambda lesson: (touched[lesson.task_id], lesson.task_id))
    return Project(project_id, state.label_config, spec, tuple(entries), tuple(lessons), ledger)


def report_of(connection: redis.Redis, project: Project, *, heads_kept: int) -> Report:
    """The project's report; the head in use judges the labels that it was fitted with."""
    versions = HeadVersions(HeadStore(connection, most=heads_kept))
    return build_report(
        project.id, reviews_of(project.entries, project.spec), _held_out(project, versions)
    )


def _held_out(project: Project, versions: HeadVersions) -> list[HeldOut]:
    name = str(project.id)
    judged = versions.pictures(name, versions.current(name).number)
    addresses = list(dict.fromkeys(lesson.address for lesson in project.lessons))
    hash_of = project.ledger.store.hashes(name, addresses)
    of_task: dict[int, Counter[str]] = {}
    for lesson in project.lessons:
        digest, counts = judged.get(hash_of.get(lesson.address, ""), ("", None))
        # Labels that were changed since say nothing about what the head was shown.
        if counts is not None and digest == lesson.digest and lesson.drawn_on:
            of_task.setdefault(lesson.task_id, Counter()).update(
                hits=counts.tp50, extra=counts.fp50, missed=counts.fn50
            )
    return [
        HeldOut(task_id, sums["hits"], sums["extra"], sums["missed"])
        for task_id, sums in of_task.items()
    ]

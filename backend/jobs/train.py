"""The job that trains: ledger in, a published head out if it is not worse."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from rq import get_current_job
from rq.job import Job

from backend.errors import JobCancelled, JobError, LabelStudioError
from backend.jobs.acceptance import note_acceptance
from backend.jobs.learner import Fitted
from backend.jobs.lessons import (
    Lesson,
    Pictures,
    asked_examples,
    digests_of,
    drawn_examples,
    labels_of,
    lessons_of,
    nothing_accepted,
    questions_of,
)
from backend.jobs.parking import forget_failed_trainings, park_training
from backend.jobs.process import Process, current
from backend.jobs.refresh_requests import request_refresh
from backend.jobs.sync import Sync
from backend.jobs.training import (
    TRAIN_SCHEMA,
    request_due_trainings,
    training_begins,
    training_ended,
)
from backend.jobs.versions import head_for, model_version
from backend.jobs.views import cancel_wanted
from backend.jobs.zero_shot import ZeroShotCounts
from backend.labelstudio.labelspec import LabelSpec, parse_label_config
from backend.learning.accepted import accepted_tasks
from backend.learning.choices import Question
from backend.learning.examples import Example
from backend.learning.fit_key_points import point_labels
from backend.learning.project_head import Asked, learnable
from backend.learning.promote import (
    Counts,
    Verdict,
    decide,
    judge_example,
    judge_points,
    point_answer,
    unseen_counts,
    with_answers,
    worse_answers,
)
from backend.learning.versions import Learned, VersionMeta
from backend.store import keys
from backend.store.heads import NO_HEAD, HeadRef

log = structlog.get_logger(__name__)

_FIT_STEPS = 100
"""Steps of progress that the fit counts for, beside one a picture."""

_TELL_EVERY_S = 0.5

_NOTHING_TOLD = (
    "No picture with an accepted box or key point can be had, "
    "and no control of the whole picture with two answers."
)

_NO_BETTER = "What was learned answers no better than the zero-shot way, or the mean of values."

Found = Mapping[str, tuple[Lesson, Example]]


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Train a project; tells whether a version was ``published``, which, and ``why`` (not).

    Raises: JobError where the payload is of another schema, JobCancelled.
    """
    if payload.get("schema") != TRAIN_SCHEMA:
        raise JobError(
            f"A training of schema {payload.get('schema')!r} reached a worker for {TRAIN_SCHEMA}.",
            "Run server and workers of the same release.",
        )
    process, job, begun_s = current(), get_current_job(), time.monotonic()
    project_id = keys.project_id_of(payload["project_id"])
    job_id = job.id if job is not None else ""
    try:
        outcome = Training(process, project_id, job).run()
        _count(process, outcome, time.monotonic() - begun_s)
        forget_failed_trainings(process.connection, project_id)
        if not outcome["published"]:
            why = str(outcome["why"])
            park_training(process.connection, process.settings, project_id, payload, why)
        return outcome
    finally:
        training_ended(process.connection, project_id, job_id)
        request_due_trainings(process.connection, process.settings, time.time())


def _count(process: Process, outcome: Mapping[str, Any], took_s: float) -> None:
    judged = "not_better" if "score" in outcome else "nothing_to_learn"
    told = "published" if outcome["published"] else judged
    process.counters.add_many(
        [("trainings", {"outcome": told}, 1), ("training_ms", {}, round(took_s * 1000))]
    )


class Training:
    """One training of one project."""

    def __init__(self, process: Process, project_id: str, job: Job | None = None) -> None:
        self._process = process
        self._project_id = project_id
        self._job = job
        self._done, self._total = 0, 1
        self._told_s = 0.0

    def run(self) -> dict[str, Any]:
        """Train, judge, publish; the job's return value."""
        begun_s = time.monotonic()
        asked = training_begins(self._process.connection, self._project_id)
        unsynced = self._sync(whole=asked)
        label_config = self._label_config()
        if not label_config:
            return self._unpublished("The project's labelling configuration is unknown.")
        spec = parse_label_config(label_config)
        entries = self._process.ledger.entries(self._project_id)
        note_acceptance(self._process.connection, self._project_id, entries, spec, time.time())
        lessons = lessons_of(accepted_tasks(entries, spec), spec)
        if not any(lesson.boxes or lesson.choices or lesson.numbers for lesson in lessons):
            return self._unpublished(nothing_accepted(entries, spec)) | unsynced
        outcome = self._train(spec, lessons) | unsynced
        outcome["seconds"] = round(time.monotonic() - begun_s, 2)
        log.info("training_done", project=self._project_id, **outcome)
        return outcome

    # ---- before the fit

    def _sync(self, *, whole: bool) -> dict[str, str]:
        """``unsynced``: why Label Studio could not be asked, where it could not."""
        if self._process.label_studio is None:
            return {}
        try:
            sync = Sync(self._process.ledger, self._process.label_studio, self._project_id)
            if whole or not self._process.ledger.store.synced_state(self._project_id):
                # A ledger that was never compared may lack all but the last reports: Redis may
                # have been emptied.
                sync.run()
            else:
                sync.ask_for_proposals()
        except LabelStudioError as error:
            # What the webhooks told is worth learning all the same.
            log.warning("sync_failed", project=self._project_id, reason=str(error))
            return {"unsynced": error.what}
        return {}

    def _label_config(self) -> str:
        project = self._process.projects.get(self._project_id)
        if project is not None and project.label_config:
            return project.label_config
        if self._process.label_studio is None or not self._project_id.isdecimal():
            return ""
        return self._process.label_studio.project(int(self._project_id)).label_config

    def _train(self, spec: LabelSpec, lessons: Sequence[Lesson]) -> dict[str, Any]:
        process = self._process
        identity = process.backbone.identity
        pointed = process.versions.current(self._project_id)
        current = head_for(identity, pointed)
        small = process.learner.wants_small(drawn_examples(lessons))
        pictures = Pictures(process, self._project_id, small=small)
        version_0 = model_version(identity, NO_HEAD, spec.fingerprint, process.settings)
        zero_shot = ZeroShotCounts(process, self._project_id, version_0, spec)
        questions = questions_of(spec)
        parts = point_labels(drawn_examples(lessons))
        unlearned = self._unlearned(current, learnable(questions, asked_examples(lessons)), parts)
        self._look(pictures, lessons, zero_shot if unlearned or not current.number else None)
        found = pictures.examples(lessons)
        examples = [example for _, example in found.values()]
        labels = labels_of(examples)
        parts = point_labels(examples)
        named = list(dict.fromkeys((*labels, *parts)))
        told = {"pictures": len(examples), "labels": named, "left_out": pictures.left_out}
        questions = learnable(questions, examples)
        if not labels and not parts and not questions:
            return self._unpublished(_NOTHING_TOLD) | told
        fitted = process.learner.fit(
            examples, pictures.features, labels, questions, identity, self._on_fit_progress
        )
        digests = digests_of(found)
        known = zero_shot.known(digests)
        if current.number:
            of_head = self._head_counts(current, found, pictures, small=small)
            known = with_answers(of_head, known)
        fitted = fitted.without(worse_answers(fitted.counts, known) & unlearned)
        told |= {"metrics": dict(fitted.metrics), "controls": list(fitted.head.controls)}
        learned_labels = (*fitted.head.labels, *fitted.head.point_labels)
        if not learned_labels and not fitted.head.controls:
            return self._unpublished(_NO_BETTER) | told
        verdict = decide(fitted.counts, known, allow_chance=bool(current.number))
        told |= {"why": verdict.reason, "score": verdict.new_score, "judged_on": verdict.pictures}
        if not verdict.publish:
            return {"published": False, "current": current.number} | told
        learned = self._learned(fitted, found, digests, verdict)
        number = process.versions.publish(self._project_id, learned, instead_of=pointed.number)
        if not number:
            told["why"] = "Another head was put in use while this one was trained."
            return {"published": False, "current": current.number} | told
        head = process.versions.current(self._project_id)
        version = model_version(identity, head, spec.fingerprint, process.settings)
        request_refresh(process.connection, process.settings, self._project_id, time.time())
        return {"published": True, "head": number, "version": version} | told

    def _unlearned(
        self, current: HeadRef, asked: Sequence[Asked], parts: Sequence[str]
    ) -> frozenset[str]:
        """The controls, and labels of key points (parts), that the way in use answers without
        having learned them.

        A value that was not learned has no answer, which nothing is compared with.
        """
        answers = frozenset(one.control for one in asked if isinstance(one, Question))
        answers |= {point_answer(label) for label in parts}
        if not answers or not current.number:
            return answers
        head = self._process.heads.get(self._project_id, current.number)
        return answers - {*head.controls, *(point_answer(label) for label in head.point_labels)}

    def _look(
        self, pictures: Pictures, lessons: Sequence[Lesson], zero_shot: ZeroShotCounts | None
    ) -> None:
        """Have the features of every lesson, and what the zero-shot way makes of it."""
        missing = pictures.cached(lessons)
        if zero_shot is not None:
            digests = digests_of(pictures.examples(lessons))
            judged = zero_shot.known(digests)
            unjudged = {picture for picture in digests if picture not in judged}
            missing += [one for one in lessons if pictures.hash_of.get(one.address, "") in unjudged]
        self._total = len({lesson.address for lesson in missing}) + _FIT_STEPS
        for batch in pictures.fetched(missing, on_batch=self._on_progress):
            if zero_shot is not None:
                zero_shot.judge(batch)
        self._done = self._total - _FIT_STEPS

    # ---- after the fit

    def _head_counts(
        self, current: HeadRef, found: Found, pictures: Pictures, *, small: bool
    ) -> dict[str, Counts]:
        """How the head in use does on the pictures that it has not seen."""
        process = self._process
        head = process.heads.get(self._project_id, current.number)
        digest = process.backbone.identity.digest

        def judged(names: list[str]) -> dict[str, Counts]:
            features = {
                name: pictures.features[name][0]
                if head.small == small
                else process.learner.cache.get(name, digest, small=head.small)
                for name in names
            }
            # Of the other kind of features only what the cache has is judged.
            had = [name for name in names if features[name] is not None]
            kept = [features[name] for name in had]
            boxes = process.learner.predict(head, kept)
            opinions = process.learner.predict_choices(head, kept)
            numbers = process.learner.predict_numbers(head, kept)
            points = process.learner.predict_points(head, kept)
            return {
                name: judge_points(
                    judge_example(
                        answer,
                        {control: one.take()[0] for control, one in of_control.items()},
                        found[name][1],
                        estimated,
                    ),
                    told,
                    found[name][1],
                    head.point_labels,
                )
                for name, answer, of_control, estimated, told in zip(
                    had, boxes, opinions, numbers, points, strict=True
                )
            }

        def predict(names: list[str]) -> dict[str, Counts]:
            size = process.settings.batch_pictures  # so many are in memory at a time
            counts: dict[str, Counts] = {}
            for at in range(0, len(names), size):
                counts |= judged(names[at : at + size])
            return counts

        learned = process.versions.pictures(self._project_id, current.number)
        return unseen_counts(digests_of(found), learned, predict)

    def _learned(
        self, fitted: Fitted, found: Found, digests: Mapping[str, str], verdict: Verdict
    ) -> Learned:
        identity = self._process.backbone.identity
        meta = VersionMeta(
            created_at_s=time.time(),
            backbone_name=identity.name,
            backbone_digest=identity.digest,
            labels=tuple(dict.fromkeys((*fitted.head.labels, *fitted.head.point_labels))),
            pictures=len(found),
            task_ids=tuple(sorted({lesson.task_id for lesson, _ in found.values()})),
            metrics=fitted.metrics,
            settings=fitted.settings,
            verdict=verdict.reason,
        )
        counts = {
            picture: (digest, fitted.counts[picture])
            for picture, digest in digests.items()
            if picture in fitted.counts
        }
        return Learned(fitted.head.to_bytes(), meta, counts)

    def _unpublished(self, why: str) -> dict[str, Any]:
        log.info("training_left_out", project=self._project_id, why=why)
        return {"published": False, "why": why}

    # ---- progress

    def _on_fit_progress(self, share: float) -> None:
        self._on_progress(self._total - _FIT_STEPS + round(_FIT_STEPS * share))

    def _on_progress(self, done: int) -> None:
        """Tell how far it is, at most twice a second. Raises: JobCancelled."""
        self._done = done
        now_s = time.monotonic()
        if self._job is None or (now_s - self._told_s < _TELL_EVERY_S and done < self._total):
            return
        self._told_s = now_s
        if cancel_wanted(self._process.connection, self._job.id):
            raise JobCancelled("The training was cancelled.", "The next change starts another.")
        self._job.meta |= {"done": self._done, "total": self._total}
        self._job.save_meta()  # type: ignore[no-untyped-call]

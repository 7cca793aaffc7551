"""The job that finds the object an annotator points at, while he waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import redis
import structlog
from rq import get_current_job

from backend.domain import Boxes, Failed, Picture, Predicted
from backend.errors import BackendError, ConfigError, JobError
from backend.jobs.addresses import looks_of
from backend.jobs.fetching import fetch_picture
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import Process, current
from backend.jobs.recent import Seen
from backend.jobs.serving import spec_of
from backend.labelstudio.interaction import Interaction
from backend.labelstudio.prediction import FoundBoxes, build_prediction, check_prediction
from backend.vision.anchored import Anchor, refine
from backend.vision.boxes.quantile_grabcut import bounded

log = structlog.get_logger(__name__)

SIDE_PX = 640
"""Longest side of a picture that is kept: the cut round an object is made on fewer pixels."""


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Find the object and leave the prediction in the cache: ``{"predicted": 0 or 1, …}``.

    What cannot be done is no error of the job, and is not tried again: the annotator has
    gone on. Raises: JobError for a payload that cannot be read, and whatever is no error of
    this backend's; that too is first left in the cache.
    """
    process, carrier = current(), Carrier.from_json(payload)
    (task,) = carrier.tasks
    begun_s = time.perf_counter()
    try:
        outcome = _answer(process, carrier, task)
    except BackendError as error:
        outcome = Failed(error.code, str(error))
    except redis.RedisError:
        raise  # nothing can be written
    except Exception as error:
        # The edge of a job: the waiting call is told, and RQ notes the error.
        _leave(process, task, Failed("job_failed", f"{type(error).__name__} {error}".strip()))
        raise
    _leave(process, task, outcome)
    took_ms = round((time.perf_counter() - begun_s) * 1000)
    process.counters.add("stage_ms", {"stage": "interactive"}, took_ms)
    process.counters.add("interactive", {}, 1)
    if isinstance(outcome, Failed):
        return {"predicted": 0, "failed": {outcome.code: 1}}
    return {"predicted": 1, "failed": {}}


def _answer(process: Process, carrier: Carrier, task: CarrierTask) -> Predicted | Failed:
    spec = spec_of(process, carrier)
    asked = _interaction(task)
    address = next(
        one.address
        for one in looks_of(spec, task.data)
        if one.control.name == asked.control and (one.item_index or 0) == asked.item_index
    )
    seen = _seen(process, carrier.project_id, address, task.id)
    found = refine(
        seen.picture,
        seen.pointable.cells_chw,
        _anchors(asked, seen.picture.size_hw),
        seen.pointable.proposals,
    )
    size_hw = seen.picture.size_hw
    boxes = Boxes.empty(size_hw) if found is None else replace(found.box, label=(asked.label,))
    prediction = build_prediction(
        spec,
        [FoundBoxes(asked.control, asked.item_index, boxes)],
        model_version=carrier.version,
        region_id_seed=task.key,
    )
    problems = check_prediction(prediction, spec, task.data)
    if problems:
        log.error("prediction_invalid", task=task.id, problems=problems)
        return Failed("invalid_prediction", "; ".join(problems))
    return Predicted(prediction)


def _interaction(task: CarrierTask) -> Interaction:
    try:
        return Interaction.from_json(task.interaction or {})
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(
            f"What an annotator points at cannot be read: {error!r}.",
            "Run server and workers of the same release.",
        ) from error


def _seen(process: Process, project_id: str, address: str, task_id: int | None) -> Seen:
    """The picture with its features: from memory, else fetched. Raises: MediaError."""
    kept = process.recent.get(project_id, address)
    if kept is not None:
        return kept
    learner, backbone = process.learner, process.backbone
    if learner.pointable is None:
        raise ConfigError("This learning has no features to point at.", "Use own_learner.")
    side_px = learner.decode_side_px(backbone, small=False)
    picture = fetch_picture(process, project_id, address, task_id, side_px)
    if isinstance(picture, BackendError):
        raise picture
    (features,) = learner.features_of(backbone, [picture], small=False, mirrored=False)
    small = Picture(bounded(picture.rgb_u8, SIDE_PX), picture.size_hw, picture.content_hash)
    seen = Seen(small, learner.pointable(backbone)(features))
    process.recent.put(project_id, address, seen)
    return seen


def _anchors(asked: Interaction, size_hw: tuple[int, int]) -> list[Anchor]:
    """The marks in pixels of this picture, which may be another size than the browser said."""
    across, down = size_hw[1] / asked.size_hw[1], size_hw[0] / asked.size_hw[0]
    return [
        Anchor((x0 * across, y0 * down, x1 * across, y1 * down), mark.is_positive)
        for mark in asked.marks
        for x0, y0, x1, y1 in [mark.xyxy_px]
    ]


def _leave(process: Process, task: CarrierTask, outcome: Predicted | Failed) -> None:
    process.cache.put_many({task.key: outcome})
    job = get_current_job()
    if job is not None:
        process.cache.release([task.key], job.id)

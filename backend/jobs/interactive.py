"""The job that finds the object an annotator points at, while he waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import redis
import structlog
from rq import get_current_job

from backend.domain import BoolArray, Boxes, Failed, FloatArray, Picture, Predicted, iou_matrix
from backend.errors import BackendError, ConfigError, JobError
from backend.jobs.addresses import looks_of
from backend.jobs.fetching import fetch_picture
from backend.jobs.outlining import follows_thing, traced_as
from backend.jobs.payload import Carrier, CarrierTask
from backend.jobs.process import Process, current
from backend.jobs.recent import Seen
from backend.jobs.serving import spec_of
from backend.labelstudio.interaction import Interaction
from backend.labelstudio.prediction import FoundBoxes, build_prediction, check_prediction
from backend.store.keys import project_id_of
from backend.vision.anchored import Anchor, Refined, refine
from backend.vision.boxes.quantile_grabcut import bounded
from backend.vision.outlines import outline

log = structlog.get_logger(__name__)

DRAWN_IOU = 0.8
"""Overlap from which an answer is what is drawn already, and is not given again."""

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
    earlier = _scaled(asked.earlier, asked, seen.picture.size_hw)
    found = refine(
        seen.picture,
        seen.pointable.cells_chw,
        _anchors(asked, seen.picture.size_hw),
        seen.pointable.proposals,
        earlier,
    )
    answer = FoundBoxes(asked.control, asked.item_index, Boxes.empty(seen.picture.size_hw))
    if found is not None and not (iou_matrix(found.box.xyxy_px, earlier) >= DRAWN_IOU).any():
        answer = replace(answer, boxes=replace(found.box, label=(asked.label,)))
        control = spec.control(asked.control)
        if control is not None and follows_thing(control.shape):
            mask = _mask(process, carrier, seen, asked, found)
            answer = traced_as(control.shape, answer, [mask])
    prediction = build_prediction(
        spec,
        [answer],
        model_version=carrier.version,
        region_id_seed=task.key,
    )
    problems = check_prediction(prediction, spec, task.data)
    if problems:
        log.error("prediction_invalid", task=task.id, problems=problems)
        return Failed("invalid_prediction", "; ".join(problems))
    return Predicted(prediction)


def _mask(
    process: Process, carrier: Carrier, seen: Seen, asked: Interaction, found: Refined
) -> BoolArray:
    """The mask of what was found, by the form of its label where the head knows one.

    Where the annotator said "not this" the cut that heard it stands.
    """
    form = None
    if carrier.head_number and all(mark.is_positive for mark in asked.marks):
        project_id = project_id_of(carrier.project_id)
        form = process.learner.form(process.heads.get(project_id, carrier.head_number), asked.label)
    if form is None:
        return found.mask_hw
    cells, (box,) = seen.pointable.cells_chw, found.box.xyxy_px
    return outline(seen.picture, cells, box, form, found.map_hw)


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
    places = _scaled([mark.xyxy_px for mark in asked.marks], asked, size_hw).tolist()
    return [
        Anchor((x0, y0, x1, y1), mark.is_positive)
        for (x0, y0, x1, y1), mark in zip(places, asked.marks, strict=True)
    ]


def _scaled(
    hulls: Sequence[tuple[float, float, float, float]],
    asked: Interaction,
    size_hw: tuple[int, int],
) -> FloatArray:
    """(N, 4) what was marked or drawn, in pixels of a picture of size_hw."""
    across, down = size_hw[1] / asked.size_hw[1], size_hw[0] / asked.size_hw[0]
    scale = np.array([across, down, across, down])
    return np.asarray(np.array(hulls).reshape(-1, 4) * scale, np.float32)


def _leave(process: Process, task: CarrierTask, outcome: Predicted | Failed) -> None:
    process.cache.put_many({task.key: outcome})
    job = get_current_job()
    if job is not None:
        process.cache.release([task.key], job.id)

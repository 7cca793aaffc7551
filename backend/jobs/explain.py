"""The job that draws where a method looks for a label on a task's picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backend.domain import Picture
from backend.errors import BackendError, ConfigError, JobError, TaskNotFound, UnknownName
from backend.jobs.addresses import Look, looks_of
from backend.jobs.answers import detect_options
from backend.jobs.explain_requests import EXPLAIN_SCHEMA, KEPT_S, ExplainCall, refusal
from backend.jobs.fetching import fetch_picture
from backend.jobs.process import Process, current
from backend.jobs.project_classes import backbone_for
from backend.labelstudio.labelspec import parse_label_config
from backend.store import keys
from backend.vision import saliency
from backend.vision.boxes.quantile_grabcut import bounded
from backend.vision.detect import LabelQuery, look, prepare
from backend.vision.explain import explain
from backend.vision.overlay import overlay, png, with_boxes

SIDE_PX = 768
"""Longest side of the picture that is kept: less than 2 MB whatever it shows."""


def run(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Draw and keep the picture: ``{"bytes": n}``, or ``{"refused": …}`` with the error.

    Raises: JobError where the payload is of another schema.
    """
    process = current()
    if payload.get("schema") != EXPLAIN_SCHEMA:
        raise JobError(
            f"An explanation of schema {payload.get('schema')!r} reached a worker for "
            f"{EXPLAIN_SCHEMA}.",
            "Run server and workers of the same release.",
        )
    call = ExplainCall(
        keys.project_id_of(payload["project_id"]),
        int(payload["task_id"]),
        str(payload["label"]),
        str(payload["method"]),
    )
    try:
        content = draw(process, call)
    except BackendError as error:
        return refusal(error)  # a person waits for the words, and can ask again
    process.connection.set(keys.explanation(str(payload["name"])), content, ex=KEPT_S)
    return {"bytes": len(content)}


def draw(process: Process, call: ExplainCall) -> bytes:
    """The task's picture as PNG, tinted by the method's map, with the boxes it leads to.

    With box rule and options of the label's control, by the project's head where it knows
    the label. Of a task with several pictures the first that may bear the label.
    Raises: UnknownName, TaskNotFound, ConfigError, MediaError, LabelStudioError.
    """
    saliency.get(call.method)  # an unknown one is told before anything is fetched
    project = process.projects.require(call.project_id)
    spec = parse_label_config(project.label_config)
    if spec.films and len(spec.films) == len(spec.active):
        raise ConfigError("Maps are drawn of pictures, not of videos.", "Ask about a picture.")
    one = _look_for(call.label, looks_of(spec, _task_data(process, call)))
    backbone = backbone_for(
        process.backbone,
        process.learner,
        process.heads,
        call.project_id,
        project.head,
        call.label,
    )
    picture = fetch_picture(
        process, call.project_id, one.address, call.task_id, max(SIDE_PX, backbone.size_px)
    )
    if not isinstance(picture, Picture):
        raise picture
    looked = look(backbone, prepare(picture, backbone.size_px)[None])
    options = replace(detect_options(one.control, process.settings), saliency=call.method)
    # A head knows the label by its value, the network by what it may be called.
    by_head = backbone is not process.backbone
    query = _query(call.label, one, by_head=by_head)
    explained = explain(looked, [picture], query, options)[0]
    small = bounded(picture.rgb_u8, SIDE_PX)
    return png(with_boxes(overlay(small, explained.values_hw), explained.boxes))


def _task_data(process: Process, call: ExplainCall) -> Mapping[str, Any]:
    """The task's data from Label Studio; without a key, from what was labelled of it."""
    if process.label_studio is not None:
        found = process.label_studio.tasks_among(int(call.project_id), [call.task_id])
        if found:
            return found[0].data
        raise TaskNotFound(
            f"Project {call.project_id} has no task {call.task_id}.",
            "Take the number from the task's address in Label Studio.",
        )
    for entry in process.ledger.entries(call.project_id):
        if entry.task_id == call.task_id:
            return entry.data
    raise TaskNotFound(
        f"Task {call.task_id} of project {call.project_id} is not known here.",
        "Set LABEL_STUDIO_API_KEY, so that Label Studio can be asked for its picture; without "
        "it only labelled tasks are known.",
    )


def _look_for(label: str, looks: list[Look]) -> Look:
    """The first look that may bear the label; any bears none."""
    if not looks:
        raise ConfigError(
            "The project's labelling configuration leaves nothing to the model.",
            "Take model_skip from a control.",
        )
    if not label:
        return looks[0]
    names = [_names(one) for one in looks]
    for one, known in zip(looks, names, strict=True):
        if label in known:
            return one
    raise UnknownName("label of the project", label, {name for known in names for name in known})


def _names(one: Look) -> dict[str, tuple[str, ...]]:
    """What may be explained of a look, with what the network may call it."""
    if one.control.values is not None:
        return {one.control.name: ()}
    return {name.value: name.names for name in one.labels}


def _query(label: str, one: Look, *, by_head: bool) -> LabelQuery | None:
    return LabelQuery(label, (label,) if by_head else _names(one)[label]) if label else None

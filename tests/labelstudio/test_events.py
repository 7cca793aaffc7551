"""Webhook bodies as Label Studio 1.23.2 sends them, and strange ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import RequestError
from backend.labelstudio.events import (
    AnnotationRecord,
    AnnotationsDeleted,
    AnnotationsSaved,
    Event,
    ProjectUpdated,
    ShownPrediction,
    StartTraining,
    TaskRecord,
    TasksCreated,
    TasksDeleted,
    parse_event,
    read_annotation,
)

REGION = {"id": "a", "type": "rectanglelabels", "value": {"x": 1}}
ANNOTATION = {
    "id": 7, "result": [REGION], "was_cancelled": False, "ground_truth": False, "lead_time": 3.2,
    "prediction": {"id": 843}, "task": 11, "project": 2, "completed_by": 1,
    "parent_prediction": 843, "updated_at": "2025-01-02T03:04:05Z",
}  # fmt: skip
RECORD = AnnotationRecord(7, 11, (REGION,), False, False, 843, 1, "2025-01-02T03:04:05Z", 3.2)
PROJECT = {"id": 2, "label_config": "<View/>"}
TASK = {"id": 11, "data": {"image": "x"}, "total_predictions": 1}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"action": "ANNOTATION_CREATED", "annotation": ANNOTATION, "task": TASK},
            AnnotationsSaved("ANNOTATION_CREATED", 2, (RECORD,), (TaskRecord(11, {"image": "x"}),)),
        ),
        (
            {"action": "ANNOTATION_UPDATED", "annotation": ANNOTATION, "task": TASK},
            AnnotationsSaved("ANNOTATION_UPDATED", 2, (RECORD,), (TaskRecord(11, {"image": "x"}),)),
        ),
        (
            {
                "action": "ANNOTATIONS_CREATED",
                "annotation": [ANNOTATION, {"id": 8, "task": 12, "was_cancelled": True}],
                "task": [TASK, {"id": 12}],
            },
            AnnotationsSaved(
                "ANNOTATIONS_CREATED",
                2,
                (RECORD, AnnotationRecord(8, 12, (), True, False, None, None, "")),
                (TaskRecord(11, {"image": "x"}), TaskRecord(12, {})),
            ),
        ),
        (
            {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 8}, {"id": 9}]},
            AnnotationsDeleted("ANNOTATIONS_DELETED", 2, (8, 9)),
        ),
        (
            {"action": "TASKS_CREATED", "tasks": [TASK]},
            TasksCreated("TASKS_CREATED", 2, (TaskRecord(11, {"image": "x"}),)),
        ),
        (
            {"action": "TASKS_DELETED", "tasks": [{"id": 256}]},
            TasksDeleted("TASKS_DELETED", 2, (256,)),
        ),
        ({"action": "PROJECT_UPDATED"}, ProjectUpdated("PROJECT_UPDATED", 2, "<View/>")),
        ({"action": "START_TRAINING"}, StartTraining("START_TRAINING", 2, "<View/>")),
        ({"action": "REVIEW_CREATED", "annotation": 5}, Event("REVIEW_CREATED", 2)),
    ],
    ids=lambda value: value["action"] if isinstance(value, dict) else "",
)
def test_every_action(body: dict[str, Any], expected: Event) -> None:
    assert parse_event({**body, "project": PROJECT}) == expected


@pytest.mark.parametrize(
    ("project", "project_id"),
    [({"id": 2}, 2), (2, 2), ("2", 2), ("2.1795224262", 2), ({}, None), (None, None), (True, None),
     (-1, None), ("two", None), ([2], None)],
)  # fmt: skip
def test_project_in_every_shape(project: Any, project_id: int | None) -> None:
    assert parse_event({"action": "X", "project": project}).project_id == project_id


def test_task_of_an_annotation_that_lacks_it() -> None:
    event = parse_event({"action": "ANNOTATION_CREATED", "annotation": {"id": 1}, "task": TASK})
    assert isinstance(event, AnnotationsSaved)
    assert event.annotations[0].task_id == 11


@pytest.mark.parametrize(
    ("snapshot", "shown"),
    [
        (None, None),
        ({}, None),
        ({"id": 843}, None),
        (
            {"id": 843, "model_version": "v1", "result": [REGION, 5]},
            ShownPrediction(843, "v1", (REGION,)),
        ),
    ],
    ids=["none", "plural action", "without regions", "whole"],
)
def test_the_prediction_that_was_shown(snapshot: Any, shown: ShownPrediction | None) -> None:
    assert read_annotation({**ANNOTATION, "prediction": snapshot}).shown == shown


def test_the_api_names_the_prediction_by_its_id() -> None:
    row = {key: value for key, value in ANNOTATION.items() if key != "prediction"}
    predictions = [{"id": 1, "result": []}, {"id": 843, "model_version": "v", "result": [REGION]}]
    assert read_annotation(row, None, predictions).shown == ShownPrediction(843, "v", (REGION,))
    assert read_annotation({**row, "parent_prediction": None}, None, predictions).shown is None


def test_a_snapshot_of_another_prediction_is_not_what_it_was_made_from() -> None:
    snapshot = {"id": 7, "model_version": "v", "result": [REGION]}
    row = {**ANNOTATION, "prediction": snapshot, "parent_prediction": 8}
    assert read_annotation(row).shown is None
    assert read_annotation(row, None, [{**snapshot, "id": 8}]).shown == ShownPrediction(
        8, "v", (REGION,)
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [(3, 3.0), (None, None), (True, None), ("4", None), (-1, None), (float("nan"), None)],
)
def test_lead_time(told: Any, expected: float | None) -> None:
    assert read_annotation({**ANNOTATION, "lead_time": told}).lead_time_s == expected


@pytest.mark.parametrize("body", [None, [], [{}], "x", 3, True])
def test_other_than_an_object_is_refused(body: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_event(body)
    assert caught.value.remedy


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "task", "result", "data"]), inner, max_size=4)
    ),
    max_leaves=8,
)
actions = st.sampled_from(
    ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED", "TASKS_CREATED",
     "TASKS_DELETED", "PROJECT_UPDATED", "START_TRAINING", "", "OTHER"]
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    actions | json_values,
    st.dictionaries(
        st.sampled_from(["annotation", "annotations", "task", "tasks", "project"]), json_values
    ),
)
def test_no_object_raises(action: Any, rest: dict[str, Any]) -> None:
    event = parse_event({"action": action, **rest})
    assert event.action == (action if isinstance(action, str) else "")

"""The model_* attributes of a control."""

from __future__ import annotations

import pytest

from backend.errors import LabelConfigInvalid
from backend.labelstudio.options import ControlOptions, parse_options


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ControlOptions()),
        ({"name": "rl", "score_threshold": "x"}, ControlOptions()),
        ({"model_score_threshold": "0"}, ControlOptions(score_threshold=0.0)),
        ({"model_score_threshold": " 0.25 "}, ControlOptions(score_threshold=0.25)),
        ({"model_max_boxes": "1"}, ControlOptions(max_boxes=1)),
        ({"model_skip": "True"}, ControlOptions(skip=True)),
        ({"model_skip": "false"}, ControlOptions(skip=False)),
        (
            {"model_saliency": "cam", "model_box_rule": "threshold"},
            ControlOptions(saliency="cam", box_rule="threshold"),
        ),
        ({"model_dilate": "3"}, ControlOptions(extra={"model_dilate": "3"})),
    ],
    ids=["none", "foreign", "zero", "spaces", "one", "yes", "no", "names", "extra"],
)
def test_options(attributes: dict[str, str], expected: ControlOptions) -> None:
    assert parse_options("rl", attributes) == expected


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("model_score_threshold", "high"),
        ("model_score_threshold", ""),
        ("model_score_threshold", "nan"),
        ("model_score_threshold", "1.01"),
        ("model_score_threshold", "-0.1"),
        ("model_max_boxes", "0"),
        ("model_max_boxes", "-1"),
        ("model_max_boxes", "2.5"),
        ("model_max_boxes", "1_0"),
        ("model_max_boxes", "٣"),
        ("model_max_boxes", "99999999999"),
        ("model_skip", "maybe"),
        ("model_saliency", ""),
        ("model_box_rule", " "),
    ],
)
def test_refusals_name_control_attribute_value_allowed(attribute: str, value: str) -> None:
    with pytest.raises(LabelConfigInvalid) as caught:
        parse_options("rl", {attribute: value})
    assert f"Control 'rl' has {attribute}={value.strip()!r}" in caught.value.what
    assert caught.value.remedy.startswith("Allowed: ")

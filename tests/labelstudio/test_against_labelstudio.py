"""Our parser and our check held against Label Studio's own SDK, in its own environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from backend.domain import UNNAMED, Boxes
from backend.labelstudio.labelspec import Control, parse_label_config
from backend.labelstudio.prediction import (
    Found,
    FoundBoxes,
    FoundChoices,
    FoundNumber,
    build_prediction,
)
from backend.labelstudio.prediction_check import check_prediction
from tests.labelstudio import broken

pytestmark = pytest.mark.real

Ask = Callable[[str, Any], Any]

VALIDATE = """
from label_studio_sdk.label_interface import LabelInterface
answer = [
    LabelInterface(config).validate_prediction(prediction, return_errors=True)
    for config, prediction in data
]
"""

PARSE = """
from label_studio_sdk.label_interface import LabelInterface
answer = [
    {
        control.name: [control.tag, control.to_name, list(control.labels)]
        for control in LabelInterface(config).controls
    }
    for config in data
]
"""

LISTS = (
    '<View><Image name="img" valueList="$images"/><RectangleLabels name="rl" toName="img">'
    '<Label value="Dog" alias="dg"/><Label value="Cat"/></RectangleLabels>'
    '<Rectangle name="re" toName="img"/><Labels name="lb" toName="img"><Label value="A"/></Labels>'
    '<Choices name="ch" toName="img" perItem="true" choice="multiple"><Choice value="day"/>'
    '<Choice value="night"/></Choices></View>'
)
CONFIGS = {
    "all": broken.CONFIG,
    "lists": LISTS,
    "nested": (
        "<View><View><Panel><Image name='i' value='$u'/></Panel></View><!-- x -->"
        "<Choices name='c' toName='i' choice='multiple'><Choice value='a'><Choice value='b'/>"
        "</Choice><Choice value='c' alias='cc'/></Choices></View>"
    ),
    "two pictures": (
        "<View><Image name='i' value='$u'/><Image name='j' value='$v'/>"
        "<RectangleLabels name='on-i' toName='i'><Label value='x'/></RectangleLabels>"
        "<RectangleLabels name='on-j' toName='j'><Label value='y'/></RectangleLabels></View>"
    ),
    "predicted values": (
        "<View><Image name='i' value='$u'/><RectangleLabels name='r' toName='i'>"
        "<Label value='Car' predicted_values='jeep,cab'/><Label value='é &amp; ß'/>"
        "</RectangleLabels></View>"
    ),
}


def test_parser_agrees_on_names_labels_and_targets(ask_sdk: Ask) -> None:
    tags = {
        "rectanglelabels": "RectangleLabels",
        "rectangle+labels": "Labels",
        "choices": "Choices",
        "rating": "Rating",
        "number": "Number",
    }
    for config, theirs in zip(
        CONFIGS.values(), ask_sdk(PARSE, list(CONFIGS.values())), strict=True
    ):
        ours = {
            control.name: [tags[control.kind], [control.to_name], [n.value for n in control.labels]]
            for control in parse_label_config(config).controls
        }
        assert ours == {name: entry for name, entry in theirs.items() if entry[0] != "Rectangle"}


def found_boxes(draw: st.DrawFn, control: Control) -> FoundBoxes:
    height, width = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000))
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        xs, ys = (sorted(draw(st.tuples(*[st.floats(0, 1)] * 2))) for _ in "xy")
        rows.append((xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height))
    values = [label.value for label in control.labels]
    limit = np.array([width, height, width, height], np.float32)
    boxes = Boxes(
        np.minimum(np.array(rows, np.float32).reshape(-1, 4), limit),
        np.array([draw(st.floats(0, 1)) for _ in rows], np.float32),
        tuple(draw(st.sampled_from([*values, UNNAMED])) for _ in rows),
        (height, width),
    )
    return FoundBoxes(control.name, draw(st.integers(0, 1)) if control.is_list else None, boxes)


def found_choices(draw: st.DrawFn, control: Control, item_index: int) -> FoundChoices:
    values = [label.value for label in control.labels]
    most = len(values) if control.multiple else 1
    chosen = draw(st.lists(st.sampled_from(values), max_size=most, unique=True))
    return FoundChoices(control.name, item_index, tuple(chosen), draw(st.floats(0, 1)))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    config = draw(st.sampled_from([broken.CONFIG, LISTS]))
    spec = parse_label_config(config)
    found: list[Found] = []
    for control in spec.controls:
        if control.kind == "choices":
            items = range(2) if control.per_item else range(1)
            found += [found_choices(draw, control, item) for item in items]
        elif control.values is not None:
            values = st.one_of(st.none(), st.floats(-20, 20).map(control.values.nearest))
            found.append(FoundNumber(control.name, draw(values), draw(st.floats(0, 1))))
        else:
            found.append(found_boxes(draw, control))
    built = build_prediction(spec, found, model_version="net-0-ab", region_id_seed="1")
    return config, built


def test_what_we_build_passes_both_checks(ask_sdk: Ask) -> None:
    corpus: list[tuple[str, dict[str, Any]]] = []

    @seed(20)
    @settings(
        max_examples=200, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(predictions())
    def collect(entry: tuple[str, dict[str, Any]]) -> None:
        corpus.append(entry)

    collect()
    assert sum(len(prediction["result"]) for _, prediction in corpus) > 500
    data = {"image": "a", "images": ["a", "b"]}
    for config, prediction in corpus:
        assert check_prediction(prediction, parse_label_config(config), data) == []
    assert [errors for errors in ask_sdk(VALIDATE, corpus) if errors] == []


def test_what_theirs_drops_ours_refuses(ask_sdk: Ask) -> None:
    cases = [[broken.CONFIG, prediction] for prediction in broken.DROPPED.values()]
    theirs = ask_sdk(VALIDATE, [[broken.CONFIG, broken.GOOD], *cases])
    assert theirs[0] == []
    passed = [name for name, errors in zip(broken.DROPPED, theirs[1:], strict=True) if not errors]
    assert passed == [], "Label Studio drops these no more"
    spec = parse_label_config(broken.CONFIG)
    for name, prediction in broken.DROPPED.items():
        assert check_prediction(prediction, spec, broken.DATA), name

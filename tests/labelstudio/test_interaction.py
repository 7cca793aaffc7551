"""What smart tools send, as Label Studio 1.23.2 sends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.domain import UNNAMED
from backend.errors import LabelConfigInvalid, RequestError
from backend.labelstudio.interaction import (
    MOST_EARLIER,
    MOST_MARKS,
    Interaction,
    Mark,
    asked_context,
    drawn_already,
    read_interaction,
)
from backend.labelstudio.labelspec import LabelSpec, parse_label_config

POINTS = (
    '<KeyPointLabels name="kp" toName="img" smart="true">'
    '<Label value="Car"/><Label value="Bus"/></KeyPointLabels>'
)
BOXES = (
    '<RectangleLabels name="rl" toName="img" smart="true">'
    '<Label value="Car"/><Label value="Van"/></RectangleLabels>'
)
IMAGE = '<Image name="img" value="$image"/>'
DATA = {"image": "/data/upload/1/a.png"}


def spec_of(*parts: str, image: str = IMAGE) -> LabelSpec:
    return parse_label_config(f"<View>{image}{''.join(parts)}</View>")


def point(x: float = 50, y: float = 25, label: Any = "Car", **changes: Any) -> dict[str, Any]:
    return {
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.26, "labels": [label], "keypointlabels": [label]},
        "is_positive": True,
        "id": "LJuW",
        "from_name": "kp",
        "to_name": "img",
        "type": "keypointlabels",
        "origin": "manual",
    } | changes


def rectangle(label: str = "Van", **changes: Any) -> dict[str, Any]:
    value = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0, "rectanglelabels": [label]}
    return {
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": value,
        "id": "r1",
        "from_name": "rl",
        "to_name": "img",
        "type": "rectanglelabels",
        "origin": "manual",
    } | changes


def read(*regions: Any, spec: LabelSpec | None = None) -> Interaction | None:
    return read_interaction({"result": list(regions)}, spec or spec_of(POINTS, BOXES), DATA)


@pytest.mark.parametrize("context", [None, {}], ids=str)
def test_no_context(context: Any) -> None:
    assert asked_context(context) is None


@pytest.mark.parametrize(
    "context", ["text", ["list"], 5, {"other": 1}, {"result": None}, {"result": {}}], ids=str
)
def test_a_context_of_another_form(context: Any) -> None:
    with pytest.raises(RequestError, match=r"params\.context must hold"):
        asked_context(context)


def test_a_context_of_too_many_marks() -> None:
    assert asked_context({"result": [point()] * MOST_MARKS, "more": 1}) == {
        "result": [point()] * MOST_MARKS
    }
    with pytest.raises(RequestError):
        asked_context({"result": [point()] * (MOST_MARKS + 1)})


def test_clicks_add_up() -> None:
    found = read(point(), point(10, 75, is_positive=False, id="8N5R"))
    assert found == Interaction(
        "rl",
        "Car",
        0,
        (480, 640),
        (Mark((320.0, 120.0, 320.0, 120.0)), Mark((64.0, 360.0, 64.0, 360.0), False)),
    )


def test_a_rectangle() -> None:
    found = read(rectangle())
    assert found == Interaction("rl", "Van", 0, (480, 640), (Mark((160.0, 240.0, 480.0, 360.0)),))


def test_it_travels_as_json() -> None:
    asked = read(rectangle(), point(is_positive=False))
    assert asked is not None
    assert Interaction.from_json(json.loads(json.dumps(asked.to_json()))) == asked


@pytest.mark.parametrize(
    ("label", "config", "expected"),
    [
        pytest.param("Car", BOXES, ("rl", "Car"), id="the label that was chosen"),
        pytest.param("Bus", BOXES, ("rl", UNNAMED), id="one that the rectangles do not have"),
        pytest.param(
            "Bus",
            '<RectangleLabels name="one" toName="img"><Label value="Thing"/></RectangleLabels>',
            ("one", "Thing"),
            id="the only one",
        ),
        pytest.param(
            "Car",
            '<Rectangle name="re" toName="img"/>'
            '<Labels name="lb" toName="img"><Label value="Car"/></Labels>',
            ("lb", "Car"),
            id="a pair",
        ),
        pytest.param(
            "Car",
            '<RectangleLabels name="a" toName="img"><Label value="Tree"/></RectangleLabels>'
            + BOXES,
            ("rl", "Car"),
            id="the control that has the label",
        ),
    ],
)
def test_where_the_answer_goes(label: str, config: str, expected: tuple[str, str]) -> None:
    found = read(point(label=label), spec=spec_of(POINTS, config))
    assert found is not None
    assert (found.control, found.label) == expected


def test_the_answer_to_a_rectangle_goes_to_another_control_where_there_is_one() -> None:
    other = (
        '<RectangleLabels name="out" toName="img"><Label value="Van"/><Label value="X"/>'
        "</RectangleLabels>"
    )
    found = read(rectangle(), spec=spec_of(BOXES, other))
    assert found is not None
    assert (found.control, found.label) == ("out", "Van")


def test_labels_of_the_task_count() -> None:
    dynamic = '<RectangleLabels name="rl" toName="img" value="$labels"/>'
    data = {**DATA, "labels": ["Bus", "Car"]}
    spec = spec_of(POINTS, dynamic)
    found = read_interaction({"result": [point(label="Bus")]}, spec, data)
    assert found is not None
    assert found.label == "Bus"


@pytest.mark.parametrize(
    "region",
    [
        pytest.param(point(is_positive=False), id="a negative point alone"),
        pytest.param("text", id="no region"),
        pytest.param({}, id="empty"),
        pytest.param(point(from_name="else"), id="of an unknown control"),
        pytest.param(point(from_name=["kp"]), id="of a name that is none"),
        pytest.param(point(image_rotation=90), id="on a turned picture"),
        pytest.param(point(value={"x": "1", "y": 2}), id="with text for a number"),
        pytest.param(point(value=None), id="without a place"),
        pytest.param(point(original_width=None), id="of unknown size"),
        pytest.param(rectangle(type="brushlabels"), id="of another kind"),
        pytest.param(
            rectangle(value={"x": 1, "y": 1, "width": 0, "height": 0, "rectanglelabels": ["Car"]}),
            id="a rectangle without area",
        ),
    ],
)
def test_nothing_is_marked(region: Any) -> None:
    assert read(region) is None


def test_no_region() -> None:
    assert read() is None


def test_points_beyond_the_picture_are_moved_to_its_edge() -> None:
    found = read(point(120, -5, label=["odd"]))
    assert found is not None
    assert found.marks == (Mark((640.0, 0.0, 640.0, 0.0)),)
    assert found.label == UNNAMED


def test_marks_on_other_pictures_do_not_count() -> None:
    several = '<Image name="img" valueList="$images"/>'
    spec = spec_of(POINTS, BOXES, image=several)
    found = read(point(item_index=0), point(10, 10, item_index=2), spec=spec)
    assert found is not None
    assert found.item_index == 2
    assert found.marks == (Mark((64.0, 48.0, 64.0, 48.0)),)


def test_a_picture_without_rectangles_cannot_answer() -> None:
    config = (
        '<Image name="other" value="$other"/>'
        '<RectangleLabels name="rl" toName="other"><Label value="Car"/></RectangleLabels>'
    )
    with pytest.raises(LabelConfigInvalid, match="no control takes its boxes") as caught:
        read(point(), spec=spec_of(POINTS, config))
    assert 'toName="img"' in caught.value.remedy


def test_smart_points_are_read_and_change_no_prediction() -> None:
    plain = spec_of(BOXES)
    spec = spec_of(POINTS, BOXES)
    assert spec.pointers == {"kp": "img"}
    assert [control.name for control in spec.controls] == ["rl"]
    assert spec.unserved == ()
    assert spec.fingerprint == plain.fingerprint
    by_hand = spec_of(POINTS.replace(' smart="true"', ""), BOXES)
    assert by_hand.pointers == {}
    assert [control.kind for control in by_hand.controls] == ["keypointlabels", "rectanglelabels"]
    with pytest.raises(LabelConfigInvalid):
        spec_of(POINTS)  # nothing could take an answer


# ---- what is drawn already


def draft(at: str, *regions: Any) -> dict[str, Any]:
    return {"updated_at": at, "result": list(regions)}


ANNOTATION = {"result": [rectangle(id="a")], "was_cancelled": False}


@pytest.mark.parametrize(
    ("drafts", "annotations", "ids"),
    [
        pytest.param(None, None, [], id="nothing is told"),
        pytest.param("x", {"result": 5}, [], id="something else"),
        pytest.param([draft("2026-01-01", rectangle(id="d"))], [ANNOTATION], ["d"], id="a draft"),
        pytest.param(
            [draft("2026-01-02", rectangle(id="new")), draft("2026-01-01", rectangle(id="old"))],
            [],
            ["new"],
            id="the newest draft",
        ),
        pytest.param([draft("2026-01-01")], [ANNOTATION], [], id="an empty draft"),
        pytest.param([], [ANNOTATION], ["a"], id="the only annotation"),
        pytest.param([], [ANNOTATION, ANNOTATION], [], id="whose they are is not told"),
        pytest.param([], [ANNOTATION, ANNOTATION | {"was_cancelled": True}], ["a"], id="a skip"),
        pytest.param([], [5, {"result": "x"}], [], id="illegible"),
    ],
)
def test_what_the_annotator_has_drawn(drafts: Any, annotations: Any, ids: list[str]) -> None:
    assert [one["id"] for one in drawn_already(drafts, annotations)] == ids


def test_of_many_regions_the_last_ones_count() -> None:
    many = [rectangle(id=str(at)) for at in range(MOST_EARLIER + 5)]
    kept = drawn_already([draft("2026-01-01", *many)], [])
    assert [one["id"] for one in kept] == [str(at) for at in range(5, MOST_EARLIER + 5)]


def test_earlier_regions_are_hulls_on_the_marked_picture() -> None:
    outline = (
        '<PolygonLabels name="pl" toName="img"><Label value="Car"/></PolygonLabels>'
        '<Image name="img2" value="$other"/>'
        '<RectangleLabels name="else" toName="img2"><Label value="Car"/></RectangleLabels>'
    )
    points = {"points": [[10, 10], [20, 10], [10, 30]], "polygonlabels": ["Car"]}
    polygon = rectangle(id="p", from_name="pl", type="polygonlabels", value=points)
    half: dict[str, Any] = {"original_width": 320, "original_height": 240}
    earlier = [
        polygon,
        polygon,  # painted twice is one hull
        rectangle(id="small", **half),
        rectangle(id="LJuW"),  # the mark itself
        rectangle(id="other", from_name="else", to_name="img2"),
        "text",
        point(id="another click"),
    ]
    asked = {"result": [point()], "earlier": earlier}
    found = read_interaction(asked, spec_of(POINTS, BOXES, outline), DATA)
    assert found is not None
    hulls = [(64.0, 48.0, 128.0, 144.0), (160.0, 240.0, 480.0, 360.0)]
    assert [pytest.approx(one) for one in hulls] == list(found.earlier)
    assert Interaction.from_json(json.loads(json.dumps(found.to_json()))) == found
    without = found.to_json()
    del without["earlier"]  # of a server of an earlier release
    assert Interaction.from_json(without).earlier == ()


def test_key_points_take_no_answer() -> None:
    parts = '<KeyPointLabels name="part" toName="img"><Label value="Car"/></KeyPointLabels>'
    found = read(point(), spec=spec_of(POINTS, parts, BOXES))
    assert found is not None
    assert found.control == "rl"
    with pytest.raises(LabelConfigInvalid, match="no control takes its boxes"):
        read(point(), spec=spec_of(POINTS, parts))

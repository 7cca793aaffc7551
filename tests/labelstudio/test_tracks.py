from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from backend.domain import UNNAMED, Boxes
from backend.errors import LabelConfigInvalid, UnknownName
from backend.labelstudio.labelspec import parse_label_config
from backend.labelstudio.prediction import (
    FoundBoxes,
    FoundTrack,
    FoundTracks,
    build_prediction,
    check_prediction,
)
from backend.labelstudio.regions import read_regions
from backend.labelstudio.sequences import KeyFrame
from backend.labelstudio.tracks import read_tracks

CONFIG = """
<View>
  <Video name="video" value="$video" framerate="25"/>
  <VideoRectangle name="box" toName="video" model_video_way="motion" model_looks_fps="2"/>
  <Labels name="kind" toName="video" model_looks_fps="4"><Label value="Car"/><Label value="Dog"/></Labels>
</View>
"""  # noqa: E501
SPEC = parse_label_config(CONFIG)
DATA = {"video": "v.mp4"}
PATH = (
    KeyFrame(0.0, (0.1, 0.2, 0.3, 0.4)),
    KeyFrame(0.8, (0.3, 0.2, 0.5, 0.4), goes_on=False),
    KeyFrame(1.6, (0.5, 0.6, 0.7, 0.8)),
)


def built(*tracks: FoundTrack) -> dict[str, Any]:
    return build_prediction(
        SPEC, [FoundTracks("kind", tracks, 2.0)], model_version="v", region_id_seed="t"
    )


def test_options_may_stand_at_either_tag() -> None:
    (control,) = SPEC.films
    assert (control.options.video_way, control.options.looks_fps) == ("motion", 4.0)
    with pytest.raises(LabelConfigInvalid, match="video_cam"):
        parse_label_config(CONFIG.replace('"motion"', '"dance"'))


def test_a_track_is_one_region_and_comes_back() -> None:
    prediction = built(FoundTrack("Car", 0.75, PATH), FoundTrack(UNNAMED, 0.5, PATH[:1]))
    assert check_prediction(prediction, SPEC, DATA) == []
    first, second = prediction["result"]
    assert first["type"] == "videorectangle"
    assert first["from_name"] == "box"
    assert "original_width" not in first
    assert first["value"]["labels"] == ["Car"]
    assert first["value"]["framesCount"] == 50
    assert [one["frame"] for one in first["value"]["sequence"]] == [1, 21, 41]
    assert second["value"]["labels"] == []
    assert prediction["score"] == 0.5
    assert first["id"] != second["id"]
    one, other = read_tracks(prediction["result"], SPEC)
    assert (one.id, one.control, one.label, one.score) == (first["id"], "kind", "Car", 0.75)
    assert one.frames == [1, 21, 41]
    assert other.label == UNNAMED


def test_tracks_are_no_boxes_of_a_picture() -> None:
    prediction = built(FoundTrack("Car", 0.75, PATH))
    assert read_regions(prediction["result"], SPEC) == []
    boxes = FoundBoxes("kind", None, Boxes.empty((9, 9)))
    with pytest.raises(UnknownName):
        build_prediction(SPEC, [boxes], model_version="v", region_id_seed="t")


@pytest.mark.parametrize(
    ("frame", "x0"),
    [
        pytest.param(1, 0.1, id="key frame"),
        pytest.param(11, 0.2, id="half-way"),
        pytest.param(21, 0.3, id="where it ends it is to be seen"),
        pytest.param(22, None, id="hidden"),
        pytest.param(41, 0.5, id="there again"),
        pytest.param(50, 0.5, id="it stays"),
        pytest.param(0, None, id="before the first"),
    ],
)
def test_what_is_drawn_on_a_frame(frame: int, x0: float | None) -> None:
    (track,) = read_tracks(built(FoundTrack("Car", 0.75, PATH))["result"], SPEC)
    drawn = track.drawn_at(frame)
    assert (None if drawn is None else pytest.approx(drawn[0])) == x0


def wrong(**changes: Any) -> dict[str, Any]:
    prediction = copy.deepcopy(built(FoundTrack("Car", 0.75, PATH)))
    (region,) = prediction["result"]
    for key, value in changes.items():
        place: Any = region
        *path, last = (int(one) if one.isdecimal() else one for one in key.split("__"))
        for part in path:
            place = place[part]
        place[last] = value
    return prediction


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"value__labels": ["Cat"]}, "not labels"),
        ({"value__labels": "Car"}, "list of texts"),
        ({"value__framesCount": 20}, "up to 20"),
        ({"value__framesCount": "50"}, "framesCount"),
        ({"value__duration": -1}, "duration"),
        ({"value__sequence": []}, "at least one"),
        ({"value__sequence__1__frame": 1}, "above 1"),
        ({"value__sequence__1__frame": 1.5}, "whole number"),
        ({"value__sequence__0__enabled": 1}, "enabled"),
        ({"value__sequence__0__x": 90.0}, "leave the picture"),
        ({"value__sequence__0": None}, "is an object"),
        ({"value__sequence__0__extra": 1}, "extra"),
        ({"original_width": 9}, "original_width"),
        ({"from_name": "kind"}, "none of"),
        ({"type": "labels"}, "videorectangle"),
    ],
)
def test_wrong_tracks_are_refused(changes: dict[str, Any], told: str) -> None:
    problems = check_prediction(wrong(**changes), SPEC, DATA)
    assert any(told in problem for problem in problems), problems


@pytest.mark.parametrize("result", [None, [None], [{"type": "videorectangle"}], [{"value": {}}]])
def test_what_cannot_be_read_is_left_out(result: Any) -> None:
    assert read_tracks(result, SPEC) == []


def test_labels_of_two_groups_share_a_video() -> None:
    spec = parse_label_config(
        CONFIG.replace(
            "</View>", '<Labels name="more" toName="video"><Label value="Cat"/></Labels></View>'
        )
    )
    region = wrong(value__labels=["Cat"])["result"][0]
    (track,) = read_tracks([region], spec)
    assert track.control == "more"
    prediction = {"result": [region], "score": 0.5, "model_version": "v"}
    assert check_prediction(prediction, spec, DATA) == []


@pytest.mark.real
def test_label_studio_takes_them(ask_sdk: Callable[[str, Any], Any]) -> None:
    code = (
        "from label_studio_sdk.label_interface import LabelInterface\n"
        "answer = [LabelInterface(config).validate_prediction(one, return_errors=True)"
        " for config, one in data]"
    )
    found = [
        built(FoundTrack("Car", 0.75, PATH)),
        built(FoundTrack(UNNAMED, 0.75, PATH)),
        built(FoundTrack("Dog", 0.5, PATH[:1]), FoundTrack("Dog", 0.5, PATH[1:])),
        built(),
    ]
    assert ask_sdk(code, [[CONFIG, one] for one in found]) == [[]] * len(found)

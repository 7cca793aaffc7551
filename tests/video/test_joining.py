from __future__ import annotations

import json

import numpy as np
import pytest

from backend.video.joining import join
from backend.video.records import MOST_TRACKS, tracks_from_json, tracks_to_json
from backend.video.tracks import Spot, Track


def spot(frame: int, x: float, score: float = 0.5) -> Spot:
    return Spot(frame, frame / 25, np.array([x, 10, x + 20, 30], np.float32), score)


def track(label: str, *stretches: list[tuple[int, float]], score: float = 0.5) -> Track:
    return Track(label, score, tuple(tuple(spot(*one) for one in part) for part in stretches))


def frames(one: Track) -> list[list[int]]:
    return [[spot.frame for spot in stretch] for stretch in one.stretches]


def test_one_thing_in_two_parts_is_one_track() -> None:
    before = track("car", [(0, 0), (5, 5)], [(8, 8), (10, 10)], score=0.9)
    after = track("car", [(10, 12), (15, 15)], [(30, 40)], score=0.3)
    (whole,) = join([[before], [after]], [10])
    assert frames(whole) == [[0, 5], [8, 10, 15], [30]]
    assert whole.stretches[1][1].xyxy_px[0] == 10, "the shared frame as the earlier part saw it"
    assert whole.score == pytest.approx((4 * 0.9 + 3 * 0.3) / 7)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(track("bus", [(10, 10), (15, 15)]), id="another label"),
        pytest.param(track("car", [(10, 25), (15, 30)]), id="another place: IoU 1/7"),
        pytest.param(track("car", [(12, 10), (15, 15)]), id="not on the shared frame"),
    ],
)
def test_what_is_not_the_same_stays_apart(after: Track) -> None:
    before = track("car", [(0, 0), (10, 10)])
    assert len(join([[before], [after]], [10])) == 2


def test_two_things_beside_each_other_keep_their_own_continuations() -> None:
    left, right = track("car", [(0, 0), (10, 10)]), track("car", [(0, 8), (10, 16)])
    left_on, right_on = track("car", [(10, 11), (20, 0)]), track("car", [(10, 15), (20, 60)])
    joined = join([[left, right], [right_on, left_on]], [10])
    ends = sorted(
        (one.stretches[0][0].xyxy_px[0], one.stretches[0][-1].xyxy_px[0]) for one in joined
    )
    assert ends == [(0, 0), (8, 60)]


def test_a_thing_goes_on_through_many_parts() -> None:
    parts = [[track("car", [(at, at), (at + 10, at + 10)])] for at in range(0, 50, 10)]
    (whole,) = join(parts, [10, 20, 30, 40])
    assert frames(whole) == [[0, 10, 20, 30, 40, 50]]


def test_nothing_and_one_part() -> None:
    assert join([], []) == []
    assert join([[], []], [10]) == []
    weak, sure = track("a", [(0, 0)], score=0.1), track("b", [(0, 0)], score=0.9)
    assert join([[weak, sure]], []) == [sure, weak]


def test_tracks_travel_as_json() -> None:
    told = [track("car", [(0, 0.123), (5, 5)], [(9, 9)], score=0.7)]
    (back,) = tracks_from_json(json.loads(json.dumps(tracks_to_json(told))))
    assert (back.label, back.score, frames(back)) == ("car", 0.7, [[0, 5], [9]])
    for one, other in zip(told[0].stretches[0], back.stretches[0], strict=True):
        assert np.abs(one.xyxy_px - other.xyxy_px).max() <= 0.01
        assert (one.time_s, one.score, one.sureness) == (other.time_s, other.score, other.sureness)
    assert len(tracks_to_json(told * (MOST_TRACKS + 1))) == MOST_TRACKS

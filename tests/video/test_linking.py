from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from backend.domain import FloatArray, iou_matrix
from backend.video.linking import Linker, LinkRules, Sighting
from backend.video.tracks import Track
from tests.video.drawn import frames, path_of

EVERY = 5


def unit(*values: float) -> FloatArray:
    vector = np.array(values, np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def seen(
    box: FloatArray, label: str = "car", score: float = 0.9, looks: FloatArray | None = None
) -> Sighting:
    return Sighting(box, label, score, looks)


def link(
    boxes: Sequence[FloatArray | None],
    sightings: Mapping[int, Sequence[Sighting]],
    rules: LinkRules | None = None,
) -> list[Track]:
    linker = Linker(rules or LinkRules(), 1.0)
    for frame in frames(boxes):
        if frame.number in sightings:
            linker.look(frame, sightings[frame.number])
        else:
            linker.advance(frame)
    return linker.tracks()


def stretches(track: Track) -> list[tuple[int, int]]:
    return [(one[0].frame, one[-1].frame) for one in track.stretches]


def test_what_moves_is_one_thing() -> None:
    boxes: list[FloatArray | None] = [path_of(at) for at in range(41)]
    found = link(boxes, {at: [seen(path_of(at))] for at in range(0, 41, EVERY)})
    assert [stretches(one) for one in found] == [[(0, 40)]]
    moved = [spot.moved for spot in found[0].stretches[0]]
    assert moved[0] is None
    assert all(one is not None for one in moved[1:])
    # Two pixels to the right a frame, by what the points on it did.
    assert float(np.mean([one[0] for one in moved[1:] if one is not None])) == pytest.approx(
        EVERY * 2.15, rel=0.15
    )


def test_unseen_for_a_moment_it_goes_on_with_the_picture() -> None:
    boxes: list[FloatArray | None] = [path_of(at) for at in range(41)]
    sightings: dict[int, Sequence[Sighting]] = {
        at: [] if at in (15, 20) else [seen(path_of(at))] for at in range(0, 41, EVERY)
    }
    (track,) = link(boxes, sightings)
    assert stretches(track) == [(0, 40)]
    carried = {spot.frame: spot for spot in track.stretches[0] if spot.sureness < 1}
    assert sorted(carried) == [15, 20]
    for frame, spot in carried.items():
        assert iou_matrix(spot.xyxy_px[None], path_of(frame)[None])[0, 0] > 0.8


def test_unseen_too_long_it_ends_where_it_was_seen_last() -> None:
    boxes: list[FloatArray | None] = [path_of(at) if at <= 20 else None for at in range(60)]
    sightings: dict[int, Sequence[Sighting]] = {
        at: [seen(path_of(at))] if at <= 20 else [] for at in range(0, 60, EVERY)
    }
    (track,) = link(boxes, sightings)
    assert stretches(track) == [(0, 20)]


@pytest.mark.parametrize(("alike", "tracks"), [(True, 1), (False, 2)])
def test_what_comes_back_is_the_same_thing_if_it_looks_so(alike: bool, tracks: int) -> None:
    gone = range(21, 50)
    boxes: list[FloatArray | None] = [None if at in gone else path_of(at) for at in range(80)]
    looks = unit(1, 0.1)
    back = looks if alike else unit(0.1, 1)
    sightings: dict[int, Sequence[Sighting]] = {
        at: [] if at in gone else [seen(path_of(at), looks=looks if at < 21 else back)]
        for at in range(0, 80, EVERY)
    }
    found = link(boxes, sightings)
    assert len(found) == tracks
    assert sorted(one for track in found for one in stretches(track)) == [(0, 20), (50, 75)]


def test_two_things_that_pass_keep_their_names() -> None:
    left = [np.array([10 + 3 * at, 40, 50 + 3 * at, 80], np.float32) for at in range(41)]
    right = [np.array([170 - 3 * at, 60, 210 - 3 * at, 100], np.float32) for at in range(41)]
    sightings = {
        at: [
            seen(right[at], looks=unit(0.1, 1)),
            seen(left[at], looks=unit(1, 0.1)),
        ]
        for at in range(0, 41, EVERY)
    }
    found = link([None] * 41, sightings)
    assert len(found) == 2
    for track in found:
        (stretch,) = track.stretches
        goes_right = stretch[-1].xyxy_px[0] > stretch[0].xyxy_px[0]
        own = left if goes_right else right
        assert all((spot.xyxy_px == own[spot.frame]).all() for spot in stretch)


def test_labels_are_never_mixed() -> None:
    boxes: list[FloatArray | None] = [path_of(at) for at in range(21)]
    sightings = {at: [seen(path_of(at), "car" if at < 10 else "dog")] for at in range(0, 21, EVERY)}
    found = link(boxes, sightings)
    assert sorted(track.label for track in found) == ["car", "dog"]


def test_faint_and_fleeting_things_are_left_out() -> None:
    boxes: list[FloatArray | None] = [path_of(at) for at in range(31)]
    faint = {at: [seen(path_of(at), score=0.1)] for at in range(0, 31, EVERY)}
    assert link(boxes, faint) == []
    assert link(boxes, {0: [seen(path_of(0))], 5: [], 10: [], 15: [], 20: []}) == []
    assert len(link(boxes, {0: [seen(path_of(0))]}, LinkRules(least_seen=1))) == 1

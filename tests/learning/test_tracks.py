"""What annotators agree on in videos: frame by frame, where somebody set a key frame."""

from __future__ import annotations

from typing import Any

import pytest

from backend.labelstudio.sequences import KeyFrame
from backend.labelstudio.tracks import ReadTrack
from backend.learning.reconcile import FRAME_HW, Agreed, Voice, reconcile

FPS = 10.0


def track(
    *frames: tuple[int, float], label: str = "Car", name: str = "t", ends: bool = False
) -> ReadTrack:
    """Boxes a fifth of the frame wide, at frame numbers with the left edge in shares."""
    key_frames = tuple(
        KeyFrame((frame - 1) / FPS, (x, 0.2, x + 0.2, 0.4), not ends) for frame, x in frames
    )
    return ReadTrack(name, "box", FPS, key_frames, label, 0.5, "manual")


def voice(*tracks: ReadTrack, order: int = 1, who: int = 1, **fields: Any) -> Voice:
    return Voice((order, order), who, False, (), tracks=tracks, **fields)


def places(agreed: Agreed) -> list[tuple[int, str, float]]:
    return sorted(
        (box.item_index, box.label, round(box.xyxy_px[0] / FRAME_HW[1], 3)) for box in agreed.boxes
    )


def test_one_voice_has_its_key_frames_accepted_and_nothing_between() -> None:
    assert places(reconcile([voice(track((1, 0.1), (11, 0.3)))])) == [
        (1, "Car", 0.1),
        (11, "Car", 0.3),
    ]


def test_where_one_thing_is_set_the_others_are_there_as_drawn() -> None:
    moving = track((1, 0.1), (11, 0.3))
    other = track((6, 0.7), label="Dog", name="d")
    assert places(reconcile([voice(moving, other)])) == [
        (1, "Car", 0.1),
        (6, "Car", 0.2),
        (6, "Dog", 0.7),
        (11, "Car", 0.3),
        (11, "Dog", 0.7),
    ]


def test_two_voices_need_the_same_place_on_the_frame() -> None:
    first = voice(track((1, 0.1), (11, 0.3)))
    second = voice(track((1, 0.12), (6, 0.6)), who=2)
    agreed = reconcile([first, second])
    assert places(agreed) == [(1, "Car", 0.11)], "on frames 6 and 11 they are far apart"


def test_the_newer_annotation_of_one_person_counts_alone() -> None:
    old, new = voice(track((3, 0.5)), order=1), voice(track((1, 0.1)), order=2)
    assert places(reconcile([old, new])) == [(1, "Car", 0.1)]


@pytest.mark.parametrize(
    ("kept", "rejected"),
    [
        pytest.param([], [2, 8], id="nothing there"),
        pytest.param([track((2, 0.42), ends=True)], [8], id="drawn anew on one frame"),
        pytest.param([track((2, 0.42), (8, 0.42), label="Dog")], [2, 8], id="another label"),
    ],
)
def test_a_deleted_track_is_rejected_on_its_key_frames(
    kept: list[ReadTrack], rejected: list[int]
) -> None:
    deleted = track((2, 0.4), (8, 0.4), name="predicted")
    agreed = reconcile([voice(*kept, deleted_tracks=(deleted,))])
    assert sorted(box.item_index for box in agreed.rejected) == rejected

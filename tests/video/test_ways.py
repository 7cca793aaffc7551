from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backend.domain import UNNAMED, Boxes, FloatArray, Picture, iou_matrix
from backend.errors import UnknownName
from backend.video import WAYS
from backend.video.classifiers import ARCHITECTURES, CLIP_FRAMES, VideoClassifier
from backend.video.follow import find_tracks
from backend.video.frames import Frame, read_clip
from backend.video.motion import movement
from backend.video.video_cam import happenings
from backend.video.ways import Question, Seen
from backend.vision.detect import LabelQuery
from tests.video.drawn import FPS, HW, clip, grey, path_of, picture, write_film


def film(boxes: Sequence[FloatArray | None], every: int) -> Iterator[Frame]:
    for number, box in enumerate(boxes):
        colour = picture(box) if number % every == 0 else None
        yield Frame(number, number / FPS, grey(box), colour)


def nothing_known() -> VideoClassifier:
    raise AssertionError("no classifier is wanted here")


def question(see: Any = None, *names: str, classifier: Any = nothing_known) -> Question:
    labels = tuple(LabelQuery(name, (name,)) for name in names)
    return Question(labels, see, "film", classifier)


def ask(name: str, boxes: Sequence[FloatArray | None], asked: Question, every: int) -> list[Seen]:
    return list(WAYS.get(name).find(film(boxes, every), clip(len(boxes)), asked))


def test_the_ways_by_name() -> None:
    assert WAYS.names() == ("frame_cam", "motion", "video_cam")
    with pytest.raises(UnknownName, match="frame_cam"):
        WAYS.get("frame")


@pytest.mark.parametrize("count", [1, 16, 45])
def test_frames_come_back_in_order_and_are_seen_once(count: int) -> None:
    batches: list[list[str]] = []

    def see(pictures: Sequence[Picture]) -> list[Boxes]:
        batches.append([one.content_hash for one in pictures])
        return [
            Boxes(
                path_of(int(one.content_hash.partition("-")[2]))[None],
                np.ones(1, np.float32),
                ("car",),
                HW,
            )
            for one in pictures
        ]

    boxes = [path_of(at) for at in range(count)]
    found = ask("frame_cam", boxes, question(see, "car"), 2)
    assert [frame.number for frame, _ in found] == list(range(count))
    for frame, sightings in found:
        if frame.number % 2:
            assert sightings is None
        else:
            assert sightings is not None
            assert (sightings[0].xyxy_px == path_of(frame.number)).all()
    assert [name for batch in batches for name in batch] == [
        f"film-{at}" for at in range(0, count, 2)
    ]
    assert all(len(batch) <= 8 for batch in batches)


def test_what_moves_is_seen_where_it_is() -> None:
    boxes = [path_of(at) for at in range(12)]
    found = ask("motion", boxes, question(None, "car", "bus"), 3)
    assert found[0][1] == []  # nothing to compare the first frame with
    for frame, sightings in found[3::3]:
        assert sightings
        best = max(sightings, key=lambda one: one.score)
        assert best.label == UNNAMED
        assert iou_matrix(best.xyxy_px[None], path_of(frame.number)[None])[0, 0] > 0.5


def test_the_only_label_names_what_moves() -> None:
    found = ask("motion", [path_of(at) for at in range(4)], question(None, "car"), 3)
    assert found[3][1]
    assert {one.label for one in found[3][1] or ()} == {"car"}


def test_a_camera_that_moves_moves_nothing_else() -> None:
    still = grey(path_of(10))
    moved = np.roll(still, (2, 3), (0, 1))
    speed = movement(still, moved)
    inner = speed[20:-20, 20:-20]
    assert float(np.median(inner)) < 0.2
    assert not movement(still, still).any()


class Trunk(nn.Module):
    """One cell for every eighth of a side and every fourth frame: how red it is."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        side = pixels.shape[-1] // 8
        return nn.functional.avg_pool3d(pixels, (4, side, side))


def red_or_blue() -> VideoClassifier:
    network = nn.Module()
    network.stem = Trunk()
    for at in range(1, 5):
        setattr(network, f"layer{at}", nn.Identity())
    network.fc = nn.Linear(3, 2)
    network.fc.weight.data = torch.tensor([[9.0, 0, -9], [-9, 0, 9]])
    network.fc.bias.data = torch.zeros(2)
    return VideoClassifier(ARCHITECTURES.get("r3d_18"), network, ("Red_thing", "blue thing"))


def red_at(frame: int) -> np.ndarray:
    drawn = np.full((160, 160, 3), 110, np.uint8)
    if frame >= 8:
        drawn[20:80, 80:140, 0] = 255
        drawn[20:80, 80:140, 2] = 0
    return drawn


def test_a_cube_tells_where_and_when() -> None:
    frames = [red_at(at) for at in range(CLIP_FRAMES)]
    (found,) = happenings(red_or_blue(), frames, [LabelQuery("red", ("red thing",))])
    assert found.label == "red"
    assert found.score > 0.5
    early, late = found.maps[2], found.maps[13]
    assert late.max() > 0.9
    assert early.max() < 0.5
    y, x = np.unravel_index(int(late.argmax()), late.shape)
    assert (int(y), int(x)) in {(row, column) for row in (1, 2, 3) for column in (4, 5, 6)}


def test_labels_that_name_no_class_leave_the_likeliest_one_to_the_annotator() -> None:
    frames = [red_at(12)] * 5
    asked = [LabelQuery("a", ("a",)), LabelQuery("b", ("b",))]
    assert [one.label for one in happenings(red_or_blue(), frames, asked)] == [UNNAMED]
    assert [one.label for one in happenings(red_or_blue(), frames, asked[:1])] == ["a"]
    assert happenings(red_or_blue(), frames, [LabelQuery("b", ("blue thing",))]) == []


def test_video_cam_draws_boxes_on_the_frames_it_saw() -> None:
    def frames() -> Iterator[Frame]:
        for number in range(40):
            shown = red_at(number)
            yield Frame(number, number / FPS, shown[..., 0], shown if number % 2 == 0 else None)

    asked = question(None, "red thing", classifier=red_or_blue)
    found = list(WAYS.get("video_cam").find(frames(), clip(40), asked))
    assert [frame.number for frame, _ in found] == list(range(40))
    assert all((seen is None) == (frame.number % 2 == 1) for frame, seen in found)
    late = {frame.number: seen for frame, seen in found}[30]
    assert late
    middle = (late[0].xyxy_px[:2] + late[0].xyxy_px[2:]) / 2
    # The clip is 240 x 180; the thing lies at 11/16 and 5/16 of it.
    assert middle == pytest.approx([165, 56], abs=25)


@pytest.mark.parametrize("first", [0, 20])
def test_a_part_looks_at_its_first_frame_by_the_one_before(tmp_path: Path, first: int) -> None:
    path = write_film(tmp_path / "film.mp4", [path_of(at) for at in range(45)])
    found = read_clip(path, max_pixels=10**6)
    seen: list[int] = []

    def note(frame: Frame) -> None:
        if frame.rgb_u8 is not None:
            seen.append(frame.number)

    way = WAYS.get("motion")
    (track,) = find_tracks(path, found, way, question(None, "car"), first=first, on_frame=note)
    assert seen == list(range(first, 45, 5))
    assert track.stretches[0][0].frame == (5 if first == 0 else first)

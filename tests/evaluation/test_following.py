"""`bench video`'s measurement, on a drawn clip whose answer is known by hand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.errors import ImageSetInvalid
from backend.evaluation.figures import Figures
from backend.evaluation.filmed import read_filmed
from backend.evaluation.following import BEGINNING, drawn_at, measure_following
from backend.video.classifiers import VideoClassifier
from backend.video.tracks import Spot
from tests.jobs.conftest import seeded_backbone
from tests.jobs.plain_learner import PlainLearning
from tests.video.drawn import path_of, write_film

STILL = path_of(10)


def write_filmed(folder: Path, boxes: Sequence[FloatArray | None]) -> Path:
    folder.mkdir()
    write_film(folder / "film.mp4", boxes)
    with (folder / "boxes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frame", "visible", "x0", "y0", "x1", "y1"])
        for frame, box in enumerate(boxes):
            edges = [0, 0, 0, 0] if box is None else [float(edge) for edge in box]
            table.writerow([frame, int(box is not None), *edges])
    return folder


def nothing() -> VideoClassifier:
    raise AssertionError("frame_cam asks for no classifier")


def measured(folder: Path) -> Figures:
    # It always sees the median accepted box, wherever the thing is by now.
    return measure_following(
        read_filmed(folder),
        seeded_backbone(),
        PlainLearning().learner(),
        accepted=10,
        way="frame_cam",
        classifier=nothing,
        looks_fps=None,
        least_iou=0.9,
        say=lambda told: None,
    )


def test_what_stands_still_is_followed_to_the_end(tmp_path: Path) -> None:
    figures = measured(write_filmed(tmp_path / "still", [STILL] * (BEGINNING + 31)))
    values = figures.values
    assert values["mean_iou"] == pytest.approx(1.0, abs=0.02)
    assert values["share_50"] == 1.0
    assert values["false_share"] == 0.0
    assert (figures.about["frames"], figures.about["judged"]) == (31, 31)
    assert (figures.about["tracks"], figures.about["accepted"]) == (1, 10)
    assert values["keyframes_per_100"] == pytest.approx(100 * 2 / 31), "its first and its last"
    assert min(values["fps"] or 0, values["decode_fps"] or 0) > 0


def test_a_box_on_nothing_and_none_on_something_both_count(tmp_path: Path) -> None:
    beginning = [STILL] * BEGINNING
    boxes = [*beginning, *[STILL] * 11, *[None] * 10, *[path_of(60)] * 10]
    values = measured(write_filmed(tmp_path / "gone", boxes)).values
    assert values["share_50"] == pytest.approx(11 / 21), "the moved thing is nowhere near"
    assert values["false_share"] == pytest.approx(1 / 10), "the one that is looked at"


@pytest.mark.parametrize(
    ("time_s", "x0"),
    [(-0.1, None), (0.0, 0.0), (0.5, 5.0), (1.0, 10.0), (1.5, None), (2.0, 50.0), (2.1, None)],
)
def test_what_is_drawn_between_key_frames(time_s: float, x0: float | None) -> None:
    def spot(at_s: float, left: float) -> Spot:
        box = np.array([left, 0, left + 9, 9], np.float32)
        return Spot(round(at_s * 25), at_s, box, 0.5)

    box = drawn_at([[spot(0.0, 0.0), spot(1.0, 10.0)], [spot(2.0, 50.0)]], time_s)
    assert (None if box is None else float(box[0])) == x0


@pytest.mark.parametrize("spoil", ["no table", "two videos", "a row missing", "a wrong column"])
def test_a_folder_of_another_layout_is_told(tmp_path: Path, spoil: str) -> None:
    folder = write_filmed(tmp_path / "film", [STILL] * 3)
    table = folder / "boxes.csv"
    if spoil == "no table":
        table.unlink()
    elif spoil == "two videos":
        write_film(folder / "other.mp4", [STILL])
    elif spoil == "a row missing":
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(lines[:1] + lines[2:]))
    else:
        table.write_text(table.read_text().replace("x0", "left"))
    with pytest.raises(ImageSetInvalid, match=r"boxes\.csv"):
        read_filmed(folder)

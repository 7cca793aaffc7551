"""Drawn pictures: known boxes, repeatable pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.domain import iou_matrix
from backend.evaluation.drawn import draw_picture, figure_names, write_pictures


@pytest.mark.parametrize(
    ("size_hw", "figures"),
    [((1, 1), 1), ((1, 40), 1), ((480, 640), 0)],
    ids=["one pixel", "one row", "no figure wanted"],
)
def test_a_picture_without_room_has_no_box(size_hw: tuple[int, int], figures: int) -> None:
    drawn = draw_picture(0, size_hw, figures)
    assert drawn.rgb_u8.shape == (*size_hw, 3)
    assert len(drawn.boxes) == 0


def test_the_same_seed_draws_the_same_pixels() -> None:
    first, again, other = (draw_picture(seed, (120, 160), 2) for seed in (7, 7, 8))
    assert np.array_equal(first.rgb_u8, again.rgb_u8)
    assert np.array_equal(first.boxes.xyxy_px, again.boxes.xyxy_px)
    assert not np.array_equal(first.rgb_u8, other.rgb_u8)


@pytest.mark.parametrize("seed", range(6))
def test_a_box_ends_where_its_figure_ends(seed: int) -> None:
    """The background is drawn first from the same seed, so it can be told from the figure."""
    drawn, bare = draw_picture(seed, (240, 320), 1), draw_picture(seed, (240, 320), 0)
    changed = np.abs(drawn.rgb_u8.astype(int) - bare.rgb_u8.astype(int)).max(axis=2) > 40
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(found - drawn.boxes.xyxy_px[0]).max() <= 4


def test_figures_do_not_overlap() -> None:
    boxes = draw_picture(2, (480, 640), 3).boxes
    assert len(boxes) == 3
    assert np.array_equal(iou_matrix(boxes.xyxy_px, boxes.xyxy_px) > 0, np.eye(3, dtype=bool))


def test_named_figures_are_drawn_in_their_order() -> None:
    names = ("fish", "cat", "fish")
    assert draw_picture(1, (480, 640), share=(0.2, 0.3), names=names).boxes.label == names
    assert len(draw_picture(1, (480, 640), 2, names=()).boxes) == 0


def test_every_figure_appears() -> None:
    seen = {draw_picture(seed, (64, 64)).boxes.label[0] for seed in range(40)}
    assert seen == set(figure_names())


def test_files_are_readable_pictures(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "new", 4, seed=1)
    pixels = [cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) for path in paths]
    shapes = [None if picture is None else picture.shape for picture in pixels]
    assert shapes == [(480, 640, 3), (640, 480, 3), (500, 500, 3), (480, 640, 3)]
    assert write_pictures(tmp_path / "none", 0) == []

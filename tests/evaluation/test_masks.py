"""Masks measured against a pseudo truth, on drawn pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.errors import ConfigError
from backend.evaluation.bed import bed_of
from backend.evaluation.curves import shuffled_split
from backend.evaluation.masks import SIDE_PX, grabcut_in_box, measure_masks
from backend.evaluation.voc import read_voc
from backend.jobs.learner import Learner
from tests.evaluation.sets import Kept, Thumbnail, nearest_learner, write_set
from tests.jobs.conftest import seeded_backbone
from tests.vision.conftest import drawn_picture


def test_the_pseudo_truth_is_the_disc_in_its_box() -> None:
    picture = drawn_picture()
    box = np.array([50, 30, 110, 90], np.float32)
    found = grabcut_in_box(picture.rgb_u8, box, picture.size_hw)
    disc = picture.rgb_u8[..., 0] > 150
    assert (found & disc).sum() / (found | disc).sum() > 0.9
    twice = grabcut_in_box(picture.rgb_u8, 2 * box, (240, 320))
    assert (twice == found).all()


def test_a_box_that_fills_the_picture_has_none() -> None:
    picture = drawn_picture()
    whole = np.array([0, 0, 160, 120], np.float32)
    assert not grabcut_in_box(picture.rgb_u8, whole, picture.size_hw).any()
    large = np.zeros((500, 1000, 3), np.uint8)
    found = grabcut_in_box(large, np.array([0, 0, 1000, 500], np.float32), (500, 1000))
    assert found.shape == (SIDE_PX // 2, SIDE_PX)


def learner() -> Learner:
    def cells(features: Thumbnail) -> FloatArray:
        return np.asarray(features.pixels.transpose(2, 0, 1), np.float32)

    return replace(nearest_learner(Kept()), cells=cells)


@pytest.mark.slow
def test_figures_of_a_small_set(tmp_path: Path) -> None:
    images = read_voc(write_set(tmp_path / "set", 8))
    bed = bed_of(images, seeded_backbone(), learner())
    steps: list[str] = []
    splits = [shuffled_split(bed.ids, 0)]
    told = measure_masks(bed, splits, (0, 3), steps.append).as_dict()
    assert steps == ["pseudo truth", "0 accepted", "3 accepted"]
    assert told["boxes"] == sum(len(one.boxes) for one in bed.examples.values())
    assert 0 < told["with_pseudo_truth"] <= told["boxes"]
    for name in ("true_boxes_0", "true_boxes_3", "formed_3", "box", "ellipse", "polygon"):
        assert 0 < told[name] <= 1
    assert 0 <= told["predicted_boxes_0"] <= told["true_boxes_0"]
    assert told["mask_ms"] > 0


def test_nothing_to_compare_with_is_told(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", 2)
    for path in (folder / "annotations").iterdir():
        path.write_text("<annotation></annotation>")
    bed = bed_of(read_voc(folder), seeded_backbone(), learner())
    with pytest.raises(ConfigError, match="GrabCut finds nothing"):
        measure_masks(bed, [], (0,))

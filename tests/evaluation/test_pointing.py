"""What `bench points` measures, on drawn people and a tiny network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import RequestError
from backend.evaluation.bed import measuring_learner
from backend.evaluation.pointing import drawn_people, measure_pointing, points_of_boxes
from backend.vision.backbones import load_backbone
from tests.evaluation.sets import write_set
from tests.vision.conftest import seeded_backbone


@pytest.mark.slow
def test_learned_points_are_nearer_than_their_mean(tmp_path: Path) -> None:
    said: list[str] = []
    with measuring_learner(tmp_path) as learner:
        figures = measure_pointing(
            "people",
            drawn_people(14),
            load_backbone("embedded", None, "cpu"),
            learner,
            accepted=(1, 8),
            judged=6,
            say=said.append,
        )
    assert said == ["features", "1 accepted", "8 accepted"]
    told = figures.as_dict()
    assert told["pck_8"] > told["mean_8"] + 0.1
    assert told["parts_alone_8"] > told["mean_8"]
    assert 0 <= told["ece_8"] <= 1
    assert told["fit_s_1"] > 0


@pytest.mark.parametrize("accepted", [(), (0, 2), (3,)], ids=["none", "zero", "too many"])
def test_what_cannot_be_measured_is_refused(tmp_path: Path, accepted: tuple[int, ...]) -> None:
    with measuring_learner(tmp_path) as learner, pytest.raises(RequestError, match="not enough"):
        measure_pointing(
            "people",
            drawn_people(4),
            seeded_backbone("mobilenet_v2"),
            learner,
            accepted=accepted,
            judged=2,
            say=lambda told: None,
        )


@pytest.mark.parametrize("corners", [False, True])
def test_points_of_boxes_are_their_centres_and_corners(tmp_path: Path, corners: bool) -> None:
    folder = write_set(tmp_path / "set", 3, (40, 60))
    found = points_of_boxes(folder, 2, corners=corners)
    assert len(found) == 2
    for one in found:
        labels = {"top left", "top right", "bottom left", "bottom right"}
        assert (set(one.points_px) >= labels) is corners
        if corners:
            (centre,) = (points for name, points in one.points_px.items() if name not in labels)
            around = np.concatenate([one.points_px[name] for name in sorted(labels)])
            assert centre[0] == pytest.approx(around.mean(0))

"""People drawn for key points."""

from __future__ import annotations

import numpy as np
import pytest

from backend.cli.demo import template_text
from backend.evaluation.drawn_people import PARTS, draw_person
from backend.labelstudio.labelspec import parse_label_config


def test_their_parts_are_those_of_the_template() -> None:
    (control,) = parse_label_config(template_text("pose")).active
    assert tuple(label.value for label in control.labels) == PARTS


@pytest.mark.parametrize("seed", range(20))
def test_all_parts_are_in_the_picture_and_on_the_person(seed: int) -> None:
    person = draw_person(seed)
    height, width = person.rgb_u8.shape[:2]
    places = np.concatenate([person.points_px[name] for name in PARTS])
    assert ((places >= 0) & (places < (width, height))).all()
    # The person's left is on the viewer's right.
    assert person.points_px["left hip"][0, 0] > person.points_px["right hip"][0, 0]
    assert person.points_px["head"][0, 1] < person.points_px["left knee"][0, 1]


def test_the_same_seed_draws_the_same_person() -> None:
    assert (draw_person(3).rgb_u8 == draw_person(3).rgb_u8).all()
    assert (draw_person(3).rgb_u8 != draw_person(4).rgb_u8).any()

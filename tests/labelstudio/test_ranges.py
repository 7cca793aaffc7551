"""Ranges of ratings and numbers."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from backend.errors import LabelConfigInvalid
from backend.labelstudio.ranges import NumberRange, as_number, read_range


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        pytest.param("<Rating/>", NumberRange(1, 5, 1), id="five stars"),
        pytest.param('<Rating maxRating="10"/>', NumberRange(1, 10, 1), id="ten stars"),
        pytest.param("<Number/>", NumberRange(None, None, 1), id="open"),
        pytest.param('<Number min="0" step=".5"/>', NumberRange(0, None, 0.5), id="from nought"),
        pytest.param('<Number min="-1" max=" 1 "/>', NumberRange(-1, 1, 1), id="both ends"),
        pytest.param('<Number min="" step=""/>', NumberRange(None, None, 1), id="empty text"),
    ],
)
def test_read(xml: str, expected: NumberRange) -> None:
    assert read_range(fromstring(xml)) == expected


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        pytest.param('<Rating name="r" maxRating="many"/>', "maxRating='many'", id="a word"),
        pytest.param('<Rating name="r" maxRating="1"/>', "no two values", id="one star"),
        pytest.param('<Number name="r" min="inf"/>', "min='inf'", id="infinite"),
        pytest.param('<Number name="r" min="3" max="2"/>', "no two values", id="turned round"),
        pytest.param('<Number name="r" step="0"/>', "no two values", id="no step"),
    ],
)
def test_what_cannot_be_meant_is_refused(xml: str, told: str) -> None:
    with pytest.raises(LabelConfigInvalid, match=told):
        read_range(fromstring(xml))


@pytest.mark.parametrize(
    ("range_", "value", "nearest"),
    [
        pytest.param(NumberRange(1, 5, 1), 3.4, 3, id="down"),
        pytest.param(NumberRange(1, 5, 1), 3.6, 4, id="up"),
        pytest.param(NumberRange(1, 5, 1), -9, 1, id="below"),
        pytest.param(NumberRange(1, 5, 1), 9, 5, id="above"),
        pytest.param(NumberRange(None, None, 1), -2.6, -3, id="open"),
        pytest.param(NumberRange(0, 1, 0.1), 0.31, 0.3, id="decimals"),
        pytest.param(NumberRange(0, 1, 0.1), 2, 1, id="the end by decimals"),
        pytest.param(NumberRange(0, 10, 4), 10, 8, id="the end is no step"),
        pytest.param(NumberRange(0.5, None, 2), 3.6, 4.5, id="steps begin at the lowest"),
    ],
)
def test_nearest(range_: NumberRange, value: float, nearest: float) -> None:
    assert range_.nearest(value) == nearest
    assert range_.holds(nearest)


def test_one_step_apart_is_near() -> None:
    tenths = NumberRange(0, 1, 0.1)
    assert tenths.near(0.2, 0.3)
    assert tenths.near(0.3, 0.2)
    assert not tenths.near(0.2, 0.4)


@pytest.mark.parametrize(
    "value", [None, True, "3", [3], float("nan"), float("inf"), 1e300, 10**400]
)
def test_only_what_can_be_reckoned_with_is_a_number(value: Any) -> None:
    assert as_number(value) is None
    assert as_number(3) == 3.0

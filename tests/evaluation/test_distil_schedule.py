"""The learning rate over a run."""

from __future__ import annotations

import pytest

from backend.evaluation.distil.schedule import Schedule, finish_within, for_hours

SCHEDULE = Schedule(peak=2.0, warmup=10, decay_from=80, decay_to=100)


@pytest.mark.parametrize(
    ("seen", "rate"),
    [
        pytest.param(0, 0.2, id="first-batch-is-not-zero"),
        pytest.param(4, 1.0, id="half-way-up"),
        pytest.param(9, 2.0, id="warm"),
        pytest.param(80, 2.0, id="last-of-the-stable-stretch"),
        pytest.param(90, 1.0, id="half-way-down"),
        pytest.param(100, 0.0, id="end"),
        pytest.param(120, 0.0, id="beyond"),
    ],
)
def test_rate(seen: int, rate: float) -> None:
    assert SCHEDULE.rate(seen) == pytest.approx(rate)


def test_hours_become_images_with_a_last_fifth_of_decay() -> None:
    assert for_hours(1.0, 1000, hours=1.0, images_per_s=10.0) == Schedule(1.0, 1000, 28800, 36000)


def test_a_short_run_warms_up_for_a_tenth_at_most() -> None:
    assert for_hours(1.0, 1000, hours=0.1, images_per_s=1.0).warmup == 36


def test_finishing_early_begins_at_full_height_and_ends_on_time() -> None:
    ending = finish_within(SCHEDULE, seen=20, minutes=1.0, images_per_s=1.0)
    assert (ending.decay_from, ending.decay_to) == (20, 80)
    assert ending.rate(20) == pytest.approx(2.0)


def test_replanning_a_decay_keeps_its_height() -> None:
    ending = finish_within(SCHEDULE, seen=90, minutes=0.5, images_per_s=1.0)
    assert ending.rate(90) == pytest.approx(SCHEDULE.rate(90))
    assert ending.decay_to == 120
    assert ending.finished(120)
    assert not ending.finished(119)

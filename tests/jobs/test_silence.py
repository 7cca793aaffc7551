"""Silence is told by what does not change, for as long as somebody looked."""

from __future__ import annotations

from backend.jobs.silence import Silence

HOUR_S = 3600.0


def test_only_a_sign_that_stays_the_same_is_silence() -> None:
    silence = Silence(4.0)
    assert silence.look({"a": 100.0, "b": 100.0}, 0.0) == {"a": 0.0, "b": 0.0}
    assert silence.look({"a": 102.0, "b": 100.0}, 2.0) == {"a": 0.0, "b": 2.0}
    assert silence.look({"a": 104.0, "b": 100.0}, 4.0) == {"a": 0.0, "b": 4.0}
    assert silence.look({"a": 106.0, "b": 105.0, "c": 1.0}, 6.0) == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert silence.look({}, 8.0) == {}


def test_a_clock_that_is_set_makes_nobody_silent_and_nobody_alive() -> None:
    silence = Silence(4.0)
    silence.look({"alive": 100.0, "dead": 100.0}, 0.0)
    for look, sign in enumerate((102.0 + HOUR_S, 104.0 - HOUR_S), 1):
        told = silence.look({"alive": sign, "dead": 100.0}, 2.0 * look)
        assert told == {"alive": 0.0, "dead": 2.0 * look}


def test_a_time_without_a_look_counts_no_more_than_a_step() -> None:
    silence = Silence(4.0)
    silence.look({"a": 100.0}, 0.0)
    assert silence.look({"a": 100.0}, HOUR_S) == {"a": 4.0}
    assert silence.look({"a": 100.0}, HOUR_S + 2) == {"a": 6.0}

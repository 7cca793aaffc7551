"""Who is held out with whom."""

from __future__ import annotations

from backend.learning.folds import FOLDS, Folds


def test_pictures_are_dealt_in_turn() -> None:
    folds = Folds.dealt(7)
    assert folds.of == (0, 1, 2, 3, 4, 0, 1)
    assert folds.numbers == tuple(range(FOLDS))
    assert Folds.dealt(3).numbers == (0, 1, 2)


def test_outside_is_what_is_not_in_the_fold() -> None:
    folds = Folds.dealt(7)
    assert folds.outside("abcdefg", 1) == list("acdef")
    assert folds.outside("abcdefg", None) == list("abcdefg")
    assert folds.others(0) == (1, 2, 3, 4)


def test_a_single_picture_is_its_own_outside() -> None:
    folds = Folds.dealt(1)
    assert folds.outside("a", 0) == ["a"]
    assert folds.others(0) == (0,)


def test_each_is_fitted_once_without_every_fold_and_once_on_all() -> None:
    folds = Folds.dealt(3)
    found = folds.each(lambda fold: "".join(folds.outside("abc", fold)))
    assert found == {None: "abc", 0: "bc", 1: "ac", 2: "ab"}

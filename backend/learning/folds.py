"""Which accepted pictures are held out together, and what is fitted without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

FOLDS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Folds:
    """The fold of each picture, dealt in turn.

    A part that is fitted without a fold is kept under the fold's number, the one that is
    fitted on every picture under None.
    """

    of: tuple[int, ...]

    @classmethod
    def dealt(cls, pictures: int) -> Folds:
        """As many folds as there are pictures, at most five."""
        return cls(tuple(number % min(FOLDS, pictures) for number in range(pictures)))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The folds."""
        return tuple(sorted(set(self.of)))

    def others(self, fold: int | None) -> tuple[int, ...]:
        """The folds to fit on without this one; with a single fold there is no other."""
        return tuple(number for number in self.numbers if number != fold) or self.numbers

    def outside(self, of_pictures: Sequence[T], fold: int | None) -> list[T]:
        """What belongs to the pictures to fit on, of one thing a picture."""
        others = self.others(fold)
        return [one for one, at in zip(of_pictures, self.of, strict=True) if at in others]

    def each(self, fitted: Callable[[int | None], T]) -> dict[int | None, T]:
        """What is fitted on all, and without each fold."""
        return {fold: fitted(fold) for fold in (None, *self.numbers)}

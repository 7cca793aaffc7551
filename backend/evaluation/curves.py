"""Learning curves: how good proposals are after n accepted pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from backend.errors import ConfigError
from backend.evaluation.matching import Accuracy, mean_accuracy

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of pictures. held_out: measured on. pool: accepted one after the other."""

    held_out: tuple[str, ...]
    pool: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured after a number of accepted pictures. fit_s: without features."""

    accepted: int
    accuracy: Accuracy
    fit_s: float

    def as_dict(self) -> dict[str, float]:
        """accepted, f1_50, f1_70, mean_iou, no_edit, fit_s, ece; rounded to four places."""
        figures = {name: round(value, _DIGITS) for name, value in asdict(self.accuracy).items()}
        ece = figures.pop("ece")
        return {
            "accepted": self.accepted,
            **figures,
            "fit_s": round(self.fit_s, _DIGITS),
            "ece": ece,
        }


def shuffled_split(ids: Sequence[str], seed: int) -> Split:
    """Half held out, half to accept, both in the order in which random.Random(seed) lays them.

    ids: sorted. Of an odd number the pool gets one more.
    """
    order = list(ids)
    random.Random(seed).shuffle(order)
    return _halves(order)


def split_by_time(ids: Sequence[str]) -> Split:
    """The later half held out, the earlier one accepted in its order. ids: oldest first."""
    half = len(ids) - len(ids) // 2
    return Split(tuple(ids[half:]), tuple(ids[:half]))


def _halves(order: Sequence[str]) -> Split:
    half = len(order) // 2
    return Split(tuple(order[:half]), tuple(order[half:]))


def check_counts(accepted: Sequence[int], pictures: int) -> None:
    """Raises: ConfigError where more are to be accepted than half of the pictures."""
    most = pictures - pictures // 2
    wrong = [number for number in accepted if not 0 <= number <= most]
    if wrong or pictures < 2:
        raise ConfigError(
            f"{', '.join(map(str, wrong)) or 'Any number'} accepted of {pictures} pictures cannot "
            "be measured: half of them are held out.",
            f"Ask for 0 to {most}." if pictures >= 2 else "Take at least two pictures.",
        )


def mean_curve(runs: Sequence[Sequence[Point]]) -> tuple[Point, ...]:
    """The mean over runs at each number of accepted pictures, fewest first."""
    together: dict[int, list[Point]] = {}
    for run in runs:
        for point in run:
            together.setdefault(point.accepted, []).append(point)
    return tuple(
        Point(
            accepted,
            mean_accuracy(point.accuracy for point in points),
            fmean(point.fit_s for point in points),
        )
        for accepted, points in sorted(together.items())
    )
